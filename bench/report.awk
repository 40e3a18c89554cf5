# SPDX-License-Identifier: GPL-2.0
# Medians and ratios from the lines of bench/run, with bench/rows.tsv before them:
#
#   awk -f report.awk rows.tsv raw.tsv
#
# prints, for each row, number of procs and metric, a line for each side, in the order of
# rows.tsv: group, row, procs, metric, unit, better, side, median, least, most, samples,
# and two ratios to ours, of the medians and of the best samples: above 1 is in our favour.
# Where other programs take a part of the machine, the second one is the steadier. A row
# whose procs are "1>2" has lines for what the second proc brings, too: procs "1>2", metric
# "speedup", how many times faster, round by round.
BEGIN { FS = OFS = "\t" }
/^#/ || NF < 4 { next }
FNR == NR { order[++rows] = $1; group[$1] = $2; scales[$1] = $5 == "1>2"; next }
{
	key = $1 FS $2
	if (!(key in seen)) {
		seen[key] = 1
		procs[$1, ++nprocs[$1]] = $2
	}
	if ($4 == "failed") {
		failed[key, $3] = $5
		if (!((key, $3) in side_of)) {
			side_of[key, $3] = 1
			sides[key, ++nsides[key]] = $3
		}
		next
	}
	if (!((key, $3) in side_of)) {
		side_of[key, $3] = 1
		sides[key, ++nsides[key]] = $3
	}
	if (!((key, $4) in metric_of)) {
		metric_of[key, $4] = 1
		metrics[key, ++nmetrics[key]] = $4
		unit[key, $4] = $5
		better[key, $4] = $6
	}
	id = key FS $4 FS $3
	value[id, ++n[id]] = $7 + 0
}

# Sorts the samples of id; few.
function sort(id,	i, j, v) {
	for (i = 2; i <= n[id]; i++) {
		v = value[id, i]
		for (j = i - 1; j > 0 && value[id, j] > v; j--)
			value[id, j + 1] = value[id, j]
		value[id, j + 1] = v
	}
}

function median(id,	m) {
	m = int((n[id] + 1) / 2)
	return n[id] % 2 ? value[id, m] : (value[id, m] + value[id, m + 1]) / 2
}

# The speedup of row from one proc to two, of each side.
function scale(row,	one, two, both, s, i, id, one_id, two_id) {
	one = row FS 1
	two = row FS 2
	both = row FS "1>2"
	if (!(one in seen) || !(two in seen))
		return
	procs[row, ++nprocs[row]] = "1>2"
	metrics[both, ++nmetrics[both]] = "speedup"
	unit[both, "speedup"] = "times"
	better[both, "speedup"] = "higher"
	for (s = 1; s <= nsides[one]; s++) {
		sides[both, ++nsides[both]] = sides[one, s]
		id = both FS "speedup" FS sides[one, s]
		one_id = one FS "time" FS sides[one, s]
		two_id = two FS "time" FS sides[one, s]
		for (i = 1; i <= n[one_id] && i <= n[two_id]; i++)
			value[id, ++n[id]] = value[one_id, i] / value[two_id, i]
	}
}

END {
	for (r = 1; r <= rows; r++)
		if (scales[order[r]])
			scale(order[r])
	for (r = 1; r <= rows; r++)
		for (p = 1; p <= nprocs[order[r]]; p++) {
			key = order[r] FS procs[order[r], p]
			for (m = 1; m <= nmetrics[key]; m++)
				for (s = 1; s <= nsides[key]; s++)
					line(order[r], procs[order[r], p], metrics[key, m], sides[key, s])
			for (s = 1; s <= nsides[key]; s++)
				if ((key, sides[key, s]) in failed)
					print group[order[r]], order[r], procs[order[r], p], "failed", "-", "-", \
						sides[key, s], "exit " failed[key, sides[key, s]], "-", "-", 0, "-", "-"
		}
}

# The best sample of id, which is sorted.
function best(id, way) {
	return way == "lower" ? value[id, 1] : value[id, n[id]]
}

function in_terms(theirs, ours, way) {
	if (way == "higher")
		return theirs > 0 ? sprintf("%.2f", ours / theirs) : "-"
	return ours > 0 ? sprintf("%.2f", theirs / ours) : "-"
}

function line(row, np, metric, side,	key, id, ours, way, of_medians, of_bests) {
	key = row FS np
	way = better[key, metric]
	id = key FS metric FS side
	ours = key FS metric FS "ours"
	if (!n[id])
		return
	sort(id)
	of_medians = of_bests = "-"
	if (n[ours] && side != "ours") {
		sort(ours)
		of_medians = in_terms(median(id), median(ours), way)
		of_bests = in_terms(best(id, way), best(ours, way), way)
	}
	print group[row], row, np, metric, unit[key, metric], way, side, sprintf("%.4g", median(id)), \
		sprintf("%.4g", value[id, 1]), sprintf("%.4g", value[id, n[id]]), n[id], of_medians, of_bests
}

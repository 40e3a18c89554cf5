# SPDX-License-Identifier: GPL-2.0
# A table for people from what report.awk printed: a line for each row, number of procs
# and metric; ours, Go's, Go's in terms of ours (medians, best samples), and the peers. With -v rst=1 as a
# reStructuredText list-table.
BEGIN { FS = "\t" }
/^#/ { next }
$4 == "failed" { bad[++nbad] = $2 " with " $3 " procs: " $7 " failed (" $8 ")"; next }
{
	key = $2 FS $3 FS $4
	if (!(key in seen)) {
		seen[key] = ++n
		row[n] = $2
		procs[n] = $3
		what[n] = $4 == "time" || $4 == "memory" ? $5 : $4 " " $5
	}
	i = seen[key]
	if ($7 == "ours")
		ours[i] = $8 " (" $9 "-" $10 ")"
	else if ($7 == "go") {
		go[i] = $8 " (" $9 "-" $10 ")"
		ratio[i] = $12
		bests[i] = $13
	} else
		peers[i] = peers[i] (peers[i] == "" ? "" : ", ") $7 " " $8
}
END {
	if (rst) {
		print ".. list-table::\n   :header-rows: 1\n"
		cells("row", "procs", "unit", "ours", "Go", "Go / ours", "of bests", "others")
	} else
		printf "%-16s %5s  %-9s %-24s %-24s %6s %6s  %s\n", "row", "procs", "unit", "ours", "Go", "ratio", "bests", "others"
	for (i = 1; i <= n; i++)
		if (rst)
			cells(row[i], procs[i], what[i], ours[i], go[i], ratio[i], bests[i], peers[i])
		else
			printf "%-16s %5s  %-9s %-24s %-24s %6s %6s  %s\n", row[i], procs[i], what[i], ours[i], go[i], ratio[i], bests[i], peers[i]
	for (i = 1; i <= nbad; i++)
		print (rst ? "\n" : "") bad[i]
}

function cells(a, b, c, d, e, f, g, h) {
	printf "   * - %s\n     - %s\n     - %s\n     - %s\n     - %s\n     - %s\n     - %s\n     - %s\n", a, b, c, d, e, f, g, h
}

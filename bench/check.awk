# SPDX-License-Identifier: GPL-2.0
# Compares what report.awk printed with bench/expected.tsv (place, row, procs, metric,
# ratio of Go to ours or a bound of ours, tolerance): "ok" or "not ok", row, procs, metric, text.
# -v place=host|guest; -v some=1: only some rows are measured, the others passed over.
BEGIN { FS = OFS = "\t" }
/^#/ { next }
FNR == NR {
	if ($1 == place) {
		key = $2 FS $3 FS $4
		order[++n] = key
		expected[key] = $5
		tolerance[key] = $6
	}
	next
}
$4 == "failed" { failed[$2 FS $3] = $7 " ended with " $8; measured[$2 FS $3] = 1; next }
{ measured[$2 FS $3] = 1; median[$2 FS $3 FS $4, $7] = $8 }
$7 == "ours" { figure[$2 FS $3 FS $4] = $8; unit[$2 FS $3 FS $4] = $5 }
# The better of medians and best samples: what is looked for is a loss, not a busy machine.
$7 == "go" { ratio[$2 FS $3 FS $4] = $12 + 0 > $13 + 0 ? $12 : $13 }
# Our median.
function bound(key, way, aim,	v) {
	if (!(key in figure)) {
		print "not ok", key, "no figure"
		return
	}
	v = figure[key] + 0
	print (way == "<=" ? v <= aim : v >= aim) ? "ok" : "not ok", key, \
		v " " unit[key] ", aim " way " " aim
}
END {
	for (i = 1; i <= n; i++) {
		key = order[i]
		split(key, part, FS)
		if (!measured[part[1] FS part[2]]) {
			if (!some)
				print "not ok", key, "not measured"
			continue
		}
		least = expected[key] * (1 - tolerance[key])
		if (failed[part[1] FS part[2]] != "")
			print "not ok", key, failed[part[1] FS part[2]]
		else if (expected[key] ~ /^[<>]=/)
			bound(key, substr(expected[key], 1, 2), substr(expected[key], 3) + 0)
		else if (!(key in ratio))
			print "not ok", key, "no figure"
		else
			print (ratio[key] + 0 >= least ? "ok" : "not ok"), key, \
				"Go / ours " ratio[key] " (medians " median[key, "go"] " and " \
				median[key, "ours"] " " unit[key] "), expected " expected[key] ", at least " sprintf("%.2f", least)
	}
}

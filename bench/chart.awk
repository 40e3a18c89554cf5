# SPDX-License-Identifier: GPL-2.0
# An SVG chart of one group from what report.awk printed:
#
#   awk -v group=channels -v place=host -f chart.awk host.tsv
#
# A block for each row and metric, numbers of procs below each other; a bar for each side,
# with its median and a whisker from the least to the most. Bars are scaled within a
# block, to the longer of ours and Go's; a peer's that is longer is cut and says so.
BEGIN { FS = "\t" }
/^#/ { next }
$1 != group || $4 == "failed" { next }
{
	block = $2 FS $4
	if (!(block in blocks)) {
		blocks[block] = ++nblocks
		title[nblocks] = $2 ($4 == "time" || $4 == "memory" ? "" : ", " $4)
		unit[nblocks] = $5
		better[nblocks] = $6
	}
	b = blocks[block]
	i = ++nbars[b]
	procs[b, i] = $3
	side[b, i] = $7
	value[b, i] = $8 + 0
	low[b, i] = $9 + 0
	high[b, i] = $10 + 0
	ratio[b, i] = $12
	if (($7 == "ours" || $7 == "go") && $10 + 0 > scale[b])
		scale[b] = $10 + 0
}

function escape(s) {
	gsub(/&/, "\\&amp;", s)
	gsub(/</, "\\&lt;", s)
	return s
}

function text(x, y, class, s) {
	printf "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">%s</text>\n", x, y, class, escape(s)
}

function name(s) {
	return s == "ours" ? "gsched" : s == "go" ? "Go" : s == "libc" ? "libc (threads, ucontext)" : "Boost.Fiber"
}

END {
	left = 170; width = 430; bar = 15; gap = 3; head = 22; pad = 16; procgap = 7
	height = 64
	for (b = 1; b <= nblocks; b++) {
		height += head + pad + nbars[b] * (bar + gap)
		for (i = 2; i <= nbars[b]; i++)
			if (procs[b, i] != procs[b, i - 1])
				height += procgap
	}
	total = left + width + 190
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n", total, height, total, height
	print "<style>text{font-family:sans-serif;font-size:12px;fill:#222}.t{font-size:15px;font-weight:bold}"
	print ".r{font-size:13px;font-weight:bold}.n{fill:#666}.s{text-anchor:end}</style>"
	printf "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", total, height
	text(12, 24, "t", group ", " place)
	text(12, 43, "n", "Medians; the line goes from the least to the most. Bold: Go's figure in terms of ours (above 1: in our favour).")
	colour["ours"] = "#2166ac"
	colour["go"] = "#f4a582"
	colour["libc"] = "#bdbdbd"
	colour["boost"] = "#d9c99a"
	y = 64
	for (b = 1; b <= nblocks; b++) {
		text(12, y + 12, "r", title[b])
		text(left, y + 12, "n", unit[b] ", " better[b] " is better")
		y += head
		for (i = 1; i <= nbars[b]; i++) {
			if (i == 1 || procs[b, i] != procs[b, i - 1]) {
				if (i > 1)
					y += procgap
				text(12, y + 12, "n", procs[b, i] " proc" (procs[b, i] == 1 ? "" : "s"))
			}
			text(left - 8, y + 12, "s", side[b, i] == "libc" ? "libc" : name(side[b, i]))
			s = scale[b] > 0 ? scale[b] : 1
			cut = value[b, i] > s
			w = cut ? width : width * value[b, i] / s
			printf "<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", left, y, (w > 1 ? w : 1), bar, colour[side[b, i]]
			if (!cut) {
				x1 = left + width * low[b, i] / s
				x2 = left + width * (high[b, i] > s ? s : high[b, i]) / s
				printf "<path d=\"M%.1f %.1fH%.1fM%.1f %.1fv6M%.1f %.1fv6\" stroke=\"#222\" fill=\"none\"/>\n", \
					x1, y + bar / 2, x2, x1, y + bar / 2 - 3, x2, y + bar / 2 - 3
				if (x2 > left + w)
					w = x2 - left
			} else {
				printf "<path d=\"M%.1f %.1fl-6 %dm12 0l-6 -%d\" stroke=\"#fff\" stroke-width=\"2\" fill=\"none\"/>\n", left + width - 12, y, bar, bar
			}
			label = sprintf("%.4g %s", value[b, i], unit[b])
			text(left + w + 6, y + 12, "", label)
			if (side[b, i] == "go" && ratio[b, i] != "-")
				text(left + w + 6 + 7 * length(label) + 8, y + 12, "r", "× " ratio[b, i])
			y += bar + gap
		}
		y += pad
	}
	print "</svg>"
}

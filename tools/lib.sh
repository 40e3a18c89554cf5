# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the scripts of this directory share. Sourced, never run.

top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$top/build
me=${me:-$(basename -- "$0")}

say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$*"; exit 1; }

# Hold an exclusive lock on a file for the rest of this process (fd 9), so that
# several of us may run side by side in one checkout.
lock()
{
	mkdir -p -- "$(dirname -- "$1")"
	exec 9>"$1"
	if ! flock -n 9; then
		say "waiting for another run to finish ($1)"
		flock 9
	fi
}

unlock() { exec 9>&-; }

# matches NAME PATTERN: a shell pattern for the whole name or its last part if it
# looks like one ("chan*"), else a regular expression that is found in the name.
matches()
{
	local glob='(^|[^].)])[*?]'
	if [[ $2 =~ $glob ]]; then
		# shellcheck disable=SC2053
		[[ $1 == $2 || ${1##*/} == $2 ]]
	else
		[[ $1 =~ $2 ]] 2>/dev/null
	fi
}

codename()
{
	# shellcheck disable=SC1091
	(. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}")
}

# The stock sources of this machine, narrowed to the distribution's own entries
# ("main" of the running code name), as deb822 on stdout. $1 is either "base"
# (suites kept as configured) or "backports" (suite replaced by
# <codename>-backports). No host is named here: whatever mirror the machine
# uses for Debian is the one asked for the other suite, too.
debian_sources()
{
	local kind=$1 code f
	code=$(codename)
	[ -n "$code" ] || return 1
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -f "$f" ] || continue
		# Comments may stand between the fields: out with them first.
		sed '/^#/d' -- "$f" | awk -v kind="$kind" -v code="$code" '
		BEGIN { RS = ""; FS = "\n" }
		{
			out = ""; types = suites = comps = ""; on = 1; field = ""
			for (i = 1; i <= NF; i++) {
				if ($i ~ /^[ \t]/) {		# continuation line
					if (field == "suites")
						suites = suites " " $i
					else if (field == "components")
						comps = comps " " $i
					else if (field != "types")
						out = out $i "\n"
					continue
				}
				field = tolower(substr($i, 1, index($i, ":") - 1))
				value = substr($i, index($i, ":") + 1)
				if (field == "types") types = value
				else if (field == "suites") suites = value
				else if (field == "components") comps = value
				else {
					if (field == "enabled" && value ~ /no|false|0/) on = 0
					out = out $i "\n"
				}
			}
			if (!on || (" " types " ") !~ / deb /) next
			if ((" " comps " ") !~ /[ \t]main[ \t]/) next
			n = split(suites, s, /[ \t]+/)
			keep = ""; main = 0
			for (i = 1; i <= n; i++) {
				if (s[i] == code) main = 1
				if (s[i] == code || s[i] == code "-updates" || s[i] == code "-security")
					keep = keep " " s[i]
			}
			if (kind == "backports") keep = main ? " " code "-backports" : ""
			if (keep == "") next
			printf "Types: deb\nSuites:%s\nComponents: main\n%s\n", keep, out
		}'
	done
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -f "$f" ] || continue
		awk -v kind="$kind" -v code="$code" '
		$1 == "deb" {
			line = $0; opts = ""
			sub(/#.*/, "", line)
			sub(/^deb[ \t]+/, "", line)
			if (match(line, /^\[[^]]*\][ \t]*/)) {
				opts = substr(line, 2, index(line, "]") - 2)
				line = substr(line, RLENGTH + 1)
			}
			n = split(line, w, /[ \t]+/)
			main = 0
			for (i = 3; i <= n; i++) if (w[i] == "main") main = 1
			if (!main) next
			suite = w[2]
			if (kind == "backports") {
				if (suite != code) next
				suite = code "-backports"
			} else if (suite != code && suite != code "-updates" && suite != code "-security")
				next
			printf "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n", w[1], suite
			m = split(opts, o, /[ \t]+/)
			for (i = 1; i <= m; i++) {
				key = tolower(substr(o[i], 1, index(o[i], "=") - 1))
				value = substr(o[i], index(o[i], "=") + 1)
				gsub(/,/, " ", value)
				if (key == "signed-by") print "Signed-By: " value
				if (key == "trusted") print "Trusted: " value
				if (key == "check-valid-until") print "Check-Valid-Until: " value
			}
			print ""
		}' "$f"
	done
}

# The path of an apt configuration (for apt-get -c) with sources and package
# lists of its own below build/apt/<kind>: nothing of the machine's configuration
# is changed, and third-party sources that cannot be reached do not matter. Kinds:
# base, backports, and all (both, with backports preferred).
apt_conf()
{
	local kind=$1 dir=$build/apt/$1 conf=$build/apt/$1/apt.conf
	if [ ! -s "$conf" ]; then
		mkdir -p -- "$dir/lists/partial" "$dir/cache/archives/partial"
		case $kind in
		all) { debian_sources base; debian_sources backports; } >"$dir/debian.sources" ;;
		*) debian_sources "$kind" >"$dir/debian.sources" ;;
		esac
		[ -s "$dir/debian.sources" ] ||
			die "no Debian source (component main of $(codename)) is configured in /etc/apt"
		{
			echo "Dir::Etc::sourcelist \"$dir/debian.sources\";"
			echo 'Dir::Etc::sourceparts "/dev/null";'
			echo "Dir::State::lists \"$dir/lists\";"
			echo "Dir::Cache \"$dir/cache\";"
			# The sandbox user cannot read a checkout in a private directory.
			echo 'APT::Sandbox::User "root";'
			echo 'Acquire::Retries "3";'
			[ "$kind" != all ] ||
				echo "APT::Default-Release \"$(codename)-backports\";"
		} >"$conf.$$"
		mv -- "$conf.$$" "$conf"
	fi
	printf '%s\n' "$conf"
}

# Bring those lists up to date ("${@:2}" before apt-get, as for sudo). A source
# that fails is not fatal by itself: what is wanted may come from another, and
# its absence is told later.
apt_update()
{
	local conf
	conf=$(apt_conf "$1") || exit 1
	# apt does not wait for another one's update
	flock "$build/apt/$1.lock" "${@:2}" apt-get -c "$conf" -q update >"$build/apt/$1.log" 2>&1 ||
		say "apt-get update was not complete (build/apt/$1.log); going on"
}

// SPDX-License-Identifier: GPL-2.0

// The Go sides of the benchmarks: gobench QUESTION COUNT [PARAMETER]... does what
// bench/QUESTION.c does, with the same counts and the same checks, and prints the
// same lines. One file a question, as there.
package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

var answers = map[string]func(n int){}

func now() int64 { return int64(time.Since(start)) }

var start = time.Now()

// Not true: the work was not done, and its time means nothing.
func check(ok bool, what string) {
	if !ok {
		fmt.Fprintln(os.Stderr, what)
		os.Exit(1)
	}
}

func result(metric, unit, better string, value float64) {
	fmt.Printf("%s\t%s\t%s\t%.6g\n", metric, unit, better, value)
}

func perOp(ns int64, n int) { result("time", "ns", "lower", float64(ns)/float64(n)) }

func inMs(ns int64) { result("time", "ms", "lower", float64(ns)/1e6) }

func percentiles(ns []int64) {
	slices.Sort(ns)
	result("p50", "us", "lower", float64(ns[len(ns)/2])/1e3)
	result("p99", "us", "lower", float64(ns[len(ns)*99/100])/1e3)
}

func word(i int) string {
	if i+3 < len(os.Args) {
		return os.Args[i+3]
	}
	return ""
}

func arg(i, without int) int {
	if v, err := strconv.Atoi(word(i)); err == nil {
		return v
	}
	return without
}

// Some work that is not optimised away: bench_work of bench.h.
func work(x uint64, steps int) uint64 {
	for i := 0; i < steps; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

func main() {
	if len(os.Args) > 2 {
		n, _ := strconv.Atoi(os.Args[2])
		if answer := answers[os.Args[1]]; answer != nil && n > 0 {
			answer(n)
			return
		}
	}
	fmt.Fprintln(os.Stderr, "usage: gobench question count [parameter]... (see bench/rows.tsv)")
	os.Exit(2)
}

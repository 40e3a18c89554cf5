// SPDX-License-Identifier: GPL-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sync"
)

func residentKiB() int {
	f, err := os.Open("/proc/self/status")
	check(err == nil, "/proc/self/status")
	defer f.Close()
	sum := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib int
		if n, _ := fmt.Sscanf(s.Text(), "VmRSS: %d", &kib); n == 1 {
			sum += kib
		}
		if n, _ := fmt.Sscanf(s.Text(), "VmPTE: %d", &kib); n == 1 {
			sum += kib
		}
	}
	return sum
}

func init() {
	answers["parked"] = func(n int) {
		c := make(chan struct{})
		var up, done sync.WaitGroup
		var before, after int
		for round := 1; round <= n; round += n - 1 {
			before = residentKiB()
			up.Add(round)
			done.Add(round)
			for i := 0; i < round; i++ {
				go func() {
					up.Done()
					<-c
					done.Done()
				}()
			}
			up.Wait()
			after = residentKiB()
		}
		result("memory", "B", "lower", float64(after-before)*1024/float64(n))
		check(runtime.NumGoroutine() == n+2, "parked: number of fibers")
		close(c)
		done.Wait()
	}
}

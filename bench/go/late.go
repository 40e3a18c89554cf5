// SPDX-License-Identifier: GPL-2.0

package main

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func init() {
	answers["late"] = func(n int) {
		const ns = 1000000
		nap := func() { time.Sleep(ns) }
		if word(0) == "raw" {
			nap = func() { nanosleep(ns) }
		}
		measure := func() []int64 {
			late := make([]int64, n)
			nap()
			for i := range late {
				begin := now()
				nap()
				late[i] = now() - begin - ns
				check(late[i] >= 0, "late: too short")
			}
			slices.Sort(late)
			return late
		}
		hogs := arg(1, 2*runtime.GOMAXPROCS(0))
		var done sync.WaitGroup
		var stop atomic.Bool
		idle := measure()
		done.Add(hogs)
		for i := 0; i < hogs; i++ {
			go func() {
				x := uint64(i + 1)
				for !stop.Load() {
					x = work(x, 100)
				}
				check(x != 0, "late: the work")
				done.Done()
			}()
		}
		late := measure()
		stop.Store(true)
		done.Wait()
		percentiles(late)
		result("idle_p99", "us", "lower", float64(idle[n*99/100])/1e3)
		result("beyond", "us", "lower", max(0, float64(late[n*99/100]-idle[n*99/100])/1e3))
	}
}

// One blocking system call, or what is left of it after one of the runtime's own signals.
func nanosleep(ns int64) bool {
	ts := syscall.NsecToTimespec(ns)
	for {
		if err := syscall.Nanosleep(&ts, &ts); err != syscall.EINTR {
			return err == nil
		}
	}
}

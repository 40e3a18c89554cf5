// SPDX-License-Identifier: GPL-2.0

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
)

func init() {
	const fibers, pieces = 64, 16
	round := func(n int) int64 {
		begin, steps := now(), n/fibers/pieces
		var sum atomic.Uint64
		var done sync.WaitGroup
		done.Add(fibers)
		for i := 0; i < fibers; i++ {
			go func() {
				x := uint64(1)
				for i := 0; i < pieces; i++ {
					x = work(x, steps)
					runtime.Gosched()
				}
				sum.Add(x)
				done.Done()
			}()
		}
		done.Wait()
		begin = now() - begin
		check(sum.Load() == fibers*work(1, steps*pieces), "parallel: results")
		return begin
	}
	answers["parallel"] = func(n int) {
		round(n / 10)
		inMs(round(n))
	}
}

// SPDX-License-Identifier: GPL-2.0

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
)

func init() {
	const fibers = 4
	round := func(n int) int64 {
		begin, each := now(), n/fibers
		var count atomic.Uint64
		var done sync.WaitGroup
		done.Add(fibers)
		for i := 0; i < fibers; i++ {
			go func() {
				mine := uint64(0)
				for i := 0; i < each; i++ {
					runtime.Gosched()
					mine++
				}
				count.Add(mine)
				done.Done()
			}()
		}
		done.Wait()
		begin = now() - begin
		check(count.Load() == uint64(each*fibers), "yield: count")
		return begin
	}
	answers["yield"] = func(n int) {
		round(n / 10)
		perOp(round(n), n)
	}
}

// SPDX-License-Identifier: GPL-2.0

package main

import (
	"sync"
	"sync/atomic"
)

func init() {
	const batch = 64
	round := func(n int) int64 {
		begin := now()
		var ran atomic.Uint64
		var done sync.WaitGroup
		fiber := func() {
			ran.Add(1)
			done.Done()
		}
		for i := 0; i < n/batch; i++ {
			done.Add(batch)
			for k := 0; k < batch; k++ {
				go fiber()
			}
			done.Wait()
		}
		begin = now() - begin
		check(ran.Load() == uint64(n/batch*batch), "spawn: count")
		return begin
	}
	answers["spawn"] = func(n int) {
		round(n / 10)
		perOp(round(n), n)
	}
}

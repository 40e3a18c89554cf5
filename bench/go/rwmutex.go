// SPDX-License-Identifier: GPL-2.0

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
)

func init() {
	const readers, perWrite = 8, 1000
	round := func(n int) int64 {
		begin, each, writes := now(), n/readers, n/perWrite
		var rw sync.RWMutex
		var done sync.WaitGroup
		var torn atomic.Int64
		var a, b int
		done.Add(readers + 1)
		for i := 0; i < readers; i++ {
			go func() {
				bad := int64(0)
				for i := 0; i < each; i++ {
					rw.RLock()
					if a != b {
						bad++
					}
					rw.RUnlock()
				}
				torn.Add(bad)
				done.Done()
			}()
		}
		go func() {
			for i := 0; i < writes; i++ {
				rw.Lock()
				a++
				b++
				rw.Unlock()
				runtime.Gosched()
			}
			done.Done()
		}()
		done.Wait()
		begin = now() - begin
		check(torn.Load() == 0 && a == writes && b == writes, "rwmutex: what was guarded")
		return begin
	}
	answers["rwmutex"] = func(n int) {
		round(n / 10)
		perOp(round(n), n)
	}
}

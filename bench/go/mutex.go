// SPDX-License-Identifier: GPL-2.0

package main

import "sync"

func init() {
	round := func(n, fibers int) int64 {
		begin, each := now(), n/fibers
		var mutex sync.Mutex
		var done sync.WaitGroup
		counter := 0
		done.Add(fibers)
		for i := 0; i < fibers; i++ {
			go func() {
				for i := 0; i < each; i++ {
					mutex.Lock()
					counter++
					mutex.Unlock()
				}
				done.Done()
			}()
		}
		done.Wait()
		begin = now() - begin
		check(counter == each*fibers, "mutex: counter")
		return begin
	}
	answers["mutex"] = func(n int) {
		fibers := arg(0, 1)
		round(n/10, fibers)
		perOp(round(n, fibers), n)
	}
}

// SPDX-License-Identifier: GPL-2.0

package main

import (
	"sync"
	"sync/atomic"
)

func init() {
	const fibers = 8
	round := func(n int) int64 {
		begin, each := now(), n/fibers
		var sum atomic.Uint64
		var sent, received sync.WaitGroup
		c := make(chan int, arg(0, 0))
		sent.Add(fibers)
		received.Add(fibers)
		for i := 0; i < fibers; i++ {
			go func() {
				mine := 0
				for v := range c {
					mine += v
				}
				sum.Add(uint64(mine))
				received.Done()
			}()
			go func() {
				for i := 1; i <= each; i++ {
					c <- i
				}
				sent.Done()
			}()
		}
		sent.Wait()
		close(c)
		received.Wait()
		begin = now() - begin
		check(sum.Load() == uint64(each*(each+1)/2*fibers), "chan_mpmc: sum")
		return begin
	}
	answers["chan_mpmc"] = func(n int) {
		round(n / 10)
		perOp(round(n), n)
	}
}

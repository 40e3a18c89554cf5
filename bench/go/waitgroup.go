// SPDX-License-Identifier: GPL-2.0

package main

import "sync"

func init() {
	round := func(n int) int64 {
		var wg [2]sync.WaitGroup
		end := make(chan struct{})
		rounds := 0 // of both, in turns
		side := func(mine, other *sync.WaitGroup) {
			for i := 0; i < n/2; i++ {
				mine.Wait()
				rounds++
				mine.Add(1)
				other.Done()
			}
			end <- struct{}{}
		}
		begin := now()
		wg[1].Add(1)
		go side(&wg[1], &wg[0])
		go side(&wg[0], &wg[1])
		<-end
		<-end
		begin = now() - begin
		check(rounds == n/2*2, "waitgroup: rounds")
		return begin
	}
	answers["waitgroup"] = func(n int) {
		round(n / 10)
		perOp(round(n), n)
	}
}

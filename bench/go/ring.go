// SPDX-License-Identifier: GPL-2.0

package main

func init() {
	const fibers = 503
	var result chan int
	member := func(in, out chan int, id int) {
		for {
			token := <-in
			if token == 0 {
				result <- id
				continue
			}
			out <- token - 1
		}
	}
	round := func(n int) int64 {
		var chans [fibers]chan int
		for i := range chans {
			chans[i] = make(chan int)
		}
		for i := range chans {
			go member(chans[i], chans[(i+1)%fibers], i+1)
		}
		begin := now()
		chans[0] <- n
		id := <-result
		begin = now() - begin
		check(id == n%fibers+1, "ring: where it ended")
		return begin
	}
	answers["ring"] = func(n int) {
		result = make(chan int)
		round(n / 10)
		perOp(round(n), n)
	}
}

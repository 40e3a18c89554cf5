// SPDX-License-Identifier: GPL-2.0

package main

import "sync"

func init() {
	const ways = 4
	var chans [ways]chan int
	round := func(n int) int64 {
		begin, bad := now(), 0
		var next [ways]int
		var done sync.WaitGroup
		done.Add(ways)
		for _, c := range chans {
			go func() {
				for i := 0; i < n/ways; i++ {
					c <- i
				}
				done.Done()
			}()
		}
		for i := 0; i < n/ways*ways; i++ {
			var v, k int
			select {
			case v = <-chans[0]:
				k = 0
			case v = <-chans[1]:
				k = 1
			case v = <-chans[2]:
				k = 2
			case v = <-chans[3]:
				k = 3
			}
			if v != next[k] {
				bad++
			}
			next[k]++
		}
		done.Wait()
		begin = now() - begin
		check(bad == 0, "select4: values")
		for _, got := range next {
			check(got == n/ways, "select4: counts")
		}
		return begin
	}
	answers["select4"] = func(n int) {
		for i := range chans {
			chans[i] = make(chan int)
		}
		round(n / 10)
		perOp(round(n), n)
	}
}

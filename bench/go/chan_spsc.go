// SPDX-License-Identifier: GPL-2.0

package main

func init() {
	round := func(c chan int, n int) int64 {
		begin, bad := now(), 0
		go func() {
			for i := 0; i < n; i++ {
				c <- i
			}
		}()
		for i := 0; i < n; i++ {
			if <-c != i {
				bad++
			}
		}
		begin = now() - begin
		check(bad == 0, "chan_spsc: values")
		return begin
	}
	answers["chan_spsc"] = func(n int) {
		c := make(chan int, arg(0, 0))
		round(c, n/10)
		perOp(round(c, n), n)
	}
}

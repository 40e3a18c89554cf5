// SPDX-License-Identifier: GPL-2.0

package main

func init() {
	round := func(c chan int, n int) int64 {
		begin, got := now(), 0
		for i := 0; i < n; i++ {
			select {
			case <-c:
				got++
			default:
			}
		}
		begin = now() - begin
		check(got == 0, "select_default: values")
		return begin
	}
	answers["select_default"] = func(n int) {
		c := make(chan int, 1)
		round(c, n/10)
		perOp(round(c, n), n)
		c <- 1
		select {
		case <-c:
		default:
			check(false, "select_default: nothing there")
		}
	}
}

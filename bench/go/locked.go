// SPDX-License-Identifier: GPL-2.0

package main

import "runtime"

func init() {
	round := func(n int) int64 {
		there, back := make(chan int), make(chan int)
		go func() {
			runtime.LockOSThread()
			for v := range there {
				back <- v + 1
			}
			close(back)
		}()
		begin := now()
		for i := 0; i < n; i++ {
			there <- i
			check(<-back == i+1, "locked: answer")
		}
		begin = now() - begin
		close(there)
		_, ok := <-back
		check(!ok, "locked: end")
		return begin
	}
	answers["locked"] = func(n int) {
		runtime.LockOSThread()
		round(n / 10)
		perOp(round(n), n)
		runtime.UnlockOSThread()
	}
}

// SPDX-License-Identifier: GPL-2.0

package main

import (
	"runtime"
	"syscall"
)

func init() {
	answers["handoff"] = func(n int) {
		length := int64(arg(0, 0)) * 1000000
		took := make([]int64, n)
		ready := make(chan int64, 1)
		var fds [2]int
		check(syscall.Pipe(fds[:]) == nil, "handoff: pipe")
		go func() {
			one := []byte("x")
			for i := range took {
				begin := <-ready
				took[i] = now() - begin
				m, _ := syscall.Write(fds[1], one)
				check(m == 1, "handoff: write")
			}
		}()
		x, one := uint64(1), make([]byte, 1)
		for range took {
			runtime.Gosched() // the other waits now
			end := now() + length
			t := int64(0)
			for {
				x = work(x, 100)
				if t = now(); t >= end {
					break
				}
			}
			ready <- t
			m, err := syscall.Read(fds[0], one)
			check(m == 1 && err == nil, "handoff: read")
		}
		check(x != 0, "handoff: the work")
		percentiles(took)
	}
}

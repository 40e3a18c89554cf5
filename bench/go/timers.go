// SPDX-License-Identifier: GPL-2.0

package main

import (
	"sync"
	"sync/atomic"
	"time"
)

func init() {
	const timers = 10000
	const soon = 10000000
	const later = 3600000000000
	after := func(n int) int64 {
		var done sync.WaitGroup
		var ran atomic.Uint64
		begin, x := now(), uint64(1)
		done.Add(n)
		fire := func() {
			ran.Add(1)
			done.Done()
		}
		for i := 0; i < n; i++ {
			x = work(x, 1)
			time.AfterFunc(time.Duration(x%soon), fire)
		}
		done.Wait()
		begin = now() - begin
		check(ran.Load() == uint64(n), "timers: fired")
		return begin
	}
	reset := func(n int) int64 {
		t := make([]*time.Timer, timers)
		for i := range t {
			t[i] = time.AfterFunc(time.Duration(later+i), func() {})
		}
		begin, x := now(), uint64(1)
		for i := 0; i < n; i++ {
			x = work(x, 1)
			check(t[x%timers].Reset(time.Duration(later+x%soon)), "timers: reset")
		}
		begin = now() - begin
		for i := range t {
			check(t[i].Stop(), "timers: stop")
		}
		return begin
	}
	answers["timers"] = func(n int) {
		round := after
		if word(0) == "reset" {
			round = reset
		}
		round(n / 10)
		perOp(round(n), n)
	}
}

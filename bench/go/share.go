// SPDX-License-Identifier: GPL-2.0

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

func init() {
	const blockers = 8
	compute := func(ns int64) float64 {
		begin, x, n := now(), uint64(1), 0
		for {
			x = work(x, 1000)
			n++
			if t := now() - begin; t >= ns {
				check(x != 0, "share: the work")
				return float64(n) * 1e9 / float64(t)
			}
		}
	}
	answers["share"] = func(n int) {
		ns, us := int64(n)*1000000, arg(1, 1000)
		var pages pager
		var slow disk
		var calls atomic.Uint64
		var done sync.WaitGroup
		var stop atomic.Bool
		call := word(0)
		switch call {
		case "fault":
			pages.start(blockers, us)
		case "disk":
			slow.start(blockers, us)
		}
		blocker := func(id int) {
			var block func() bool
			n := uint64(0)
			switch call {
			case "read":
				fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, 1, syscall.O_CLOEXEC, 0)
				check(errno == 0, "share: timerfd")
				t := syscall.NsecToTimespec(int64(us) * 1000)
				its := [2]syscall.Timespec{t, t}
				_, _, errno = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0,
					uintptr(unsafe.Pointer(&its)), 0, 0, 0)
				check(errno == 0, "share: timerfd")
				buf := make([]byte, 8)
				block = func() bool {
					m, _ := syscall.Read(int(fd), buf)
					return m == 8
				}
				defer syscall.Close(int(fd))
			case "fault":
				block = func() bool { return pages.touch(id) }
			case "disk":
				block = func() bool { return slow.touch(id) }
			default:
				block = func() bool { return nanosleep(int64(us) * 1000) }
			}
			for !stop.Load() {
				check(block(), "share: the call")
				n++
			}
			calls.Add(n)
		}
		compute(ns / 10)
		alone := compute(ns / 2)
		done.Add(blockers)
		for i := 0; i < blockers; i++ {
			go func() {
				blocker(i)
				done.Done()
			}()
		}
		runtime.Gosched()
		begin := now()
		beside := compute(ns)
		stop.Store(true)
		done.Wait()
		begin = now() - begin
		alone = max(alone, compute(ns/2))
		result("share", "%", "higher", 100*beside/alone)
		result("calls", "1/s", "higher", float64(calls.Load())*1e9/float64(begin))
		check(calls.Load() >= blockers, "share: no calls")
	}
}

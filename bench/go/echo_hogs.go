// SPDX-License-Identifier: GPL-2.0

package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

func init() {
	answers["echo_hogs"] = func(n int) {
		const apart = 5000000
		const first = 10 // not counted, as ours
		type line struct {
			n atomic.Uint64
			_ [56]byte
		}
		hogs := make([]line, arg(0, 8))
		var done sync.WaitGroup
		var stop atomic.Bool
		worked := func() (sum uint64) {
			for i := range hogs {
				sum += hogs[i].n.Load()
			}
			return
		}
		rate := func(before uint64, begin int64) float64 {
			return float64(worked()-before) / float64(now()-begin)
		}
		rateAlone := func() float64 {
			before, begin := worked(), now()
			time.Sleep(500 * time.Millisecond)
			return rate(before, begin)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(err == nil, "echo_hogs: listen")
		near, err := net.Dial("tcp", l.Addr().String())
		check(err == nil, "echo_hogs: dial")
		far, err := l.Accept()
		check(err == nil, "echo_hogs: accept")
		done.Add(1 + len(hogs))
		go func() {
			buf := make([]byte, 64)
			for {
				if _, err := io.ReadFull(far, buf); err != nil {
					break
				}
				m, _ := far.Write(buf)
				check(m == len(buf), "echo_hogs: write")
			}
			far.Close()
			done.Done()
		}()
		for i := range hogs {
			go func() {
				x, n := uint64(1), uint64(0)
				for !stop.Load() {
					x = work(x, 100)
					n++
					hogs[i].n.Store(n)
				}
				check(x != 0, "echo_hogs: the work")
				done.Done()
			}()
		}
		time.Sleep(100 * time.Millisecond)
		alone := rateAlone()
		took := make([]int64, n)
		buf, back := make([]byte, 64), make([]byte, 64)
		copy(buf, "echo")
		before, begin := uint64(0), int64(0)
		for i := -first; i < n; i++ {
			if i == 0 {
				before, begin = worked(), now()
			}
			time.Sleep(apart)
			t := now()
			m, _ := near.Write(buf)
			_, err := io.ReadFull(near, back)
			if i >= 0 {
				took[i] = now() - t
			}
			check(m == len(buf) && err == nil && bytes.Equal(buf, back), "echo_hogs: round trip")
		}
		beside := rate(before, begin)
		alone = max(alone, rateAlone())
		stop.Store(true)
		near.Close()
		done.Wait()
		l.Close()
		percentiles(took)
		result("hogs", "%", "higher", 100*beside/alone)
	}
}

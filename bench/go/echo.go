// SPDX-License-Identifier: GPL-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

func init() {
	round := func(n, conns int) int64 {
		var done sync.WaitGroup
		each := n / conns
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(err == nil, "echo: listen")
		done.Add(2 * conns)
		begin := now()
		for i := 0; i < conns; i++ {
			near, err := net.Dial("tcp", l.Addr().String())
			check(err == nil, "echo: dial")
			far, err := l.Accept()
			check(err == nil, "echo: accept")
			go func() {
				buf := make([]byte, 64)
				for {
					if _, err := io.ReadFull(far, buf); err != nil {
						break
					}
					m, _ := far.Write(buf)
					check(m == len(buf), "echo: write")
				}
				far.Close()
				done.Done()
			}()
			go func() {
				buf, back := make([]byte, 64), make([]byte, 64)
				copy(buf, "echo")
				for i := 0; i < each; i++ {
					binary.NativeEndian.PutUint64(buf[8:], uint64(i))
					m, _ := near.Write(buf)
					_, err := io.ReadFull(near, back)
					check(m == len(buf) && err == nil && bytes.Equal(buf, back), "echo: round trip")
				}
				near.Close()
				done.Done()
			}()
		}
		done.Wait()
		begin = now() - begin
		l.Close()
		return begin
	}
	answers["echo"] = func(n int) {
		conns := arg(0, 64)
		round(n/10, conns)
		perOp(round(n, conns), n)
	}
}

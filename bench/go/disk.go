// SPDX-License-Identifier: GPL-2.0

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"unsafe"
)

const diskPages = 32768

// See disk.h: the same, and the same process serves the disk.
type disk struct {
	area []byte
	next []int
}

func (d *disk) start(users, us int) {
	self, err := os.Executable()
	check(err == nil, "disk: where are we")
	cmd := exec.Command(filepath.Join(filepath.Dir(self), "disk"), strconv.Itoa(users), strconv.Itoa(us))
	out, err := cmd.StdoutPipe()
	check(err == nil && cmd.Start() == nil, "disk: start")
	path, err := bufio.NewReader(out).ReadString('\n')
	check(err == nil, "disk: no disk")
	file, err := os.Open(strings.TrimSpace(path))
	check(err == nil, "disk: open")
	d.area, err = syscall.Mmap(int(file.Fd()), 0, users*diskPages*4096, syscall.PROT_READ, syscall.MAP_SHARED)
	check(err == nil && syscall.Madvise(d.area, syscall.MADV_RANDOM) == nil, "disk: mmap")
	file.Close()
	d.next = make([]int, users)
}

// touch makes one page fault on a page that nobody has touched.
func (d *disk) touch(user int) bool {
	page := user*diskPages + d.next[user]
	d.next[user]++
	v := atomic.LoadUint32((*uint32)(unsafe.Pointer(&d.area[page*4096])))
	return d.next[user] <= diskPages && v == 0x70707070
}

// SPDX-License-Identifier: GPL-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// See pager.h: the same, and the same process brings the pages.
type pager struct {
	area []byte
}

func (p *pager) start(users, us int) {
	const (
		sysUserfaultfd = 323
		userModeOnly   = 1
		uffdAPI        = 0xaa
		ioAPI          = 0xc018aa3f
		ioRegister     = 0xc020aa00
		missing        = 1
	)
	var err error
	p.area, err = syscall.Mmap(-1, 0, users*4096, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON)
	check(err == nil, "pager: mmap")
	fd, _, errno := syscall.Syscall(sysUserfaultfd, syscall.O_CLOEXEC|userModeOnly, 0, 0)
	check(errno == 0, "pager: userfaultfd")
	api := [3]uint64{uffdAPI}
	_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, ioAPI, uintptr(unsafe.Pointer(&api)))
	check(errno == 0, "pager: api")
	register := [4]uint64{uint64(uintptr(unsafe.Pointer(&p.area[0]))), uint64(len(p.area)), missing}
	_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, ioRegister, uintptr(unsafe.Pointer(&register)))
	check(errno == 0, "pager: register")
	self, err := os.Executable()
	check(err == nil, "pager: where are we")
	cmd := exec.Command(filepath.Join(filepath.Dir(self), "pager"), strconv.Itoa(us))
	file := os.NewFile(fd, "userfaultfd")
	cmd.ExtraFiles = []*os.File{file}
	check(cmd.Start() == nil, "pager: start")
	file.Close()
}

// touch makes one page fault on the page of this user.
func (p *pager) touch(user int) bool {
	page := p.area[user*4096 : (user+1)*4096]
	v := atomic.LoadUint32((*uint32)(unsafe.Pointer(&page[0])))
	return syscall.Madvise(page, syscall.MADV_DONTNEED) == nil && v == 0x70707070
}

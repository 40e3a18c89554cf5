/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names come from the object's .symtab where it has one, for the dynamic symbols
 * that dladdr knows leave static functions and most of an executable nameless. The
 * object's file is mapped for the time of the report; one that cannot be read, or is
 * no ELF file of this machine, falls back to dladdr.
 */
#include "backtrace.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unwind.h>

#include "base/fatal.h"
#include "base/syscall.h"

#define MAX_FRAMES 100

struct object {
	const void *base; /* dli_fbase it was opened for; NULL none yet */
	const char *map;  /* the file, NULL if it could not be had */
	size_t size;
	bool exec; /* ET_EXEC: symbol values are addresses */
	const ElfW(Sym) *syms;
	size_t nsyms;
	const char *strs;
	size_t strs_size;
};

struct walk {
	int fd;
	int skip;
	int frames, max;
	void **pcs; /* keep them here; NULL: print */
	struct object obj;
};

static void object_close(struct object *o)
{
	if (o->map)
		gs_syscall3(SYS_munmap, o->map, o->size, 0);
	memset(o, 0, sizeof(*o));
}

static bool in_file(const struct object *o, uint64_t off, uint64_t len)
{
	return off <= o->size && len <= o->size - off;
}

static void object_find_symtab(struct object *o)
{
	const ElfW(Ehdr) *eh = (const void *)o->map;
	const ElfW(Shdr) *sh;

	if (!in_file(o, 0, sizeof(*eh)) || memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh->e_shentsize != sizeof(*sh) || eh->e_shoff % _Alignof(ElfW(Shdr)) ||
	    !in_file(o, eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(*sh)))
		return;
	o->exec = eh->e_type == ET_EXEC;
	sh = (const void *)(o->map + eh->e_shoff);
	for (size_t i = 0; i < eh->e_shnum; i++) {
		const ElfW(Shdr) *str;

		if (sh[i].sh_type != SHT_SYMTAB || sh[i].sh_link >= eh->e_shnum)
			continue;
		str = &sh[sh[i].sh_link];
		if (sh[i].sh_offset % _Alignof(ElfW(Sym)) ||
		    !in_file(o, sh[i].sh_offset, sh[i].sh_size) ||
		    !in_file(o, str->sh_offset, str->sh_size) || !str->sh_size ||
		    o->map[str->sh_offset + str->sh_size - 1] != '\0')
			return;
		o->syms = (const void *)(o->map + sh[i].sh_offset);
		o->nsyms = sh[i].sh_size / sizeof(*o->syms);
		o->strs = o->map + str->sh_offset;
		o->strs_size = str->sh_size;
		return;
	}
}

static void object_open(struct object *o, const Dl_info *info)
{
	struct stat st;
	long p, fd;

	object_close(o);
	o->base = info->dli_fbase;
	/* the executable's own name may be relative to a directory long left */
	fd = gs_syscall3(SYS_open, info->dli_fname, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		fd = gs_syscall3(SYS_open, "/proc/self/exe", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (!fstat((int)fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0) {
		p = gs_syscall6(SYS_mmap, 0, (long)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p > 0 || p < -4095) {
			o->map = (const char *)p;
			o->size = (size_t)st.st_size;
			object_find_symtab(o);
		}
	}
	gs_syscall3(SYS_close, fd, 0, 0);
}

static const char *object_symbol(const struct object *o, uintptr_t pc)
{
	uint64_t addr = o->exec ? pc : pc - (uintptr_t)o->base;

	for (size_t i = 0; i < o->nsyms; i++) {
		const ElfW(Sym) *s = &o->syms[i];

		/* ELF32_ST_TYPE is the same for both classes */
		if (ELF32_ST_TYPE(s->st_info) == STT_FUNC && s->st_shndx != SHN_UNDEF &&
		    addr - s->st_value < s->st_size && s->st_name < o->strs_size)
			return o->strs + s->st_name;
	}
	return NULL;
}

static size_t put_str(char *buf, size_t len, size_t cap, const char *s)
{
	while (*s && len < cap)
		buf[len++] = *s++;
	return len;
}

static size_t put_hex(char *buf, size_t len, size_t cap, uintptr_t v)
{
	char digits[2 * sizeof(v)];
	size_t n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v & 15];
		v >>= 4;
	} while (v);
	while (n && len < cap)
		buf[len++] = digits[--n];
	return len;
}

static void print(struct walk *w, uintptr_t pc)
{
	const char *name = NULL, *file = "?";
	uintptr_t off = pc;
	char buf[512];
	size_t len;
	Dl_info info;

	if (dladdr((void *)pc, &info) && info.dli_fname) {
		if (w->obj.base != info.dli_fbase)
			object_open(&w->obj, &info);
		name = object_symbol(&w->obj, pc);
		if (!name)
			name = info.dli_sname;
		file = info.dli_fname;
		off = pc - (uintptr_t)info.dli_fbase;
	}
	len = put_str(buf, 0, sizeof(buf) - 1, name ? name : "?");
	len = put_str(buf, len, sizeof(buf) - 1, "(...)\n\t");
	len = put_str(buf, len, sizeof(buf) - 1, file);
	len = put_str(buf, len, sizeof(buf) - 1, "+0x");
	len = put_hex(buf, len, sizeof(buf) - 1, off);
	buf[len++] = '\n';
	gs_write_all(w->fd, buf, len);
}

static _Unwind_Reason_Code frame(struct _Unwind_Context *ctx, void *arg)
{
	struct walk *w = arg;
	int before = 0;
	uintptr_t ip = (uintptr_t)_Unwind_GetIPInfo(ctx, &before);

	if (!ip)
		return _URC_END_OF_STACK;
	if (w->skip > 0) {
		w->skip--;
		return _URC_NO_REASON;
	}
	/* a return address may be the next function's first */
	ip -= !before;
	if (w->pcs)
		w->pcs[w->frames] = (void *)ip;
	else
		print(w, ip);
	return ++w->frames < w->max ? _URC_NO_REASON : _URC_END_OF_STACK;
}

void __attribute__((noinline)) gs_backtrace_print(int fd, int skip)
{
	/* the unwinder's first frame is ours */
	struct walk w = {.fd = fd, .skip = skip + 1, .max = MAX_FRAMES};

	_Unwind_Backtrace(frame, &w);
	object_close(&w.obj);
}

int __attribute__((noinline)) gs_backtrace_keep(void **pcs, int max, int skip)
{
	struct walk w = {.skip = skip + 1, .max = max, .pcs = pcs};

	_Unwind_Backtrace(frame, &w);
	return w.frames;
}

void gs_backtrace_print_kept(int fd, void *const *pcs, int n)
{
	struct walk w = {.fd = fd};

	for (int i = 0; i < n; i++)
		print(&w, (uintptr_t)pcs[i]);
	object_close(&w.obj);
}

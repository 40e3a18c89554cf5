# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdb commands for programs that use libgo-user: see Documentation/debugging.rst.

	(gdb) source /usr/local/share/gsched/gsched-gdb.py
	(gdb) help gs

Nothing in the program is called or written, so all of it works in core files, too. Structures
and offsets come from the library's debugging information.

A fiber that runs, or was interrupted and keeps its thread, is where its thread is. One that left
its stack has its registers there, as gs_switch (arch/x86_64/switch.S) saved them. From these
gdb is made to unwind, by an unwinder that says of the selected thread's innermost frame that it
was called from there: so frame 0 stays the thread's, and what follows are the fiber's calls. If
it was interrupted and travels, the first of them are the scheduler's on the upcall area, and
gdb walks on over the trampoline (upcall.S) into what was interrupted.
"""
import os

import gdb
import gdb.unwinder

MASK = (1 << 64) - 1
UPCALL_AREA = 65536  # GS_UPCALL_AREA, arch/x86_64/upcall.h
# What gs_switch pushes, upwards from the saved stack pointer; and the caller's behind it.
SAVED = (("r15", 8), ("r14", 16), ("r13", 24), ("r12", 32), ("rbx", 40), ("rbp", 48), ("rip", 56))
SAVED_SIZE = 64
RUNTIME_FRAMES = 32  # at most so many of the library's own lie above the program's


def number(value):
	return int(value) & MASK


# --- what the library has -------------------------------------------------------------


class Library:
	"""Its variables and types, by one function of each file: they are static, and the
	program may have others of the same name."""

	def __init__(self):
		self.fiber_c = self.file_of("gs_fiber_each")
		self.worker_c = self.file_of("gs_workers_start")
		self.dir = os.path.dirname(self.fiber_c.filename) + os.sep
		constants = ("GS_IDLE", "GS_RUNNABLE", "GS_RUNNING", "GS_WAITING", "GS_DEAD")
		self.idle, self.runnable, self.running, self.waiting, self.dead = (
			number(self.variable(self.fiber_c, name)) for name in constants
		)
		preempted = self.variable(self.file_of("gs_wait_text"), "GS_WAIT_PREEMPTED")
		self.preempted = number(preempted)
		self.reasons = {field.enumval: field.name for field in preempted.type.fields()}
		self.entry = number(gdb.parse_and_eval("(unsigned long) &gs_fiber_entry"))
		self.procs = gdb.lookup_global_symbol("gs_procs").value()
		texts = gdb.block_for_pc(number(self.function("gs_wait_text").value().address))
		self.texts = self.variable(self.file_of("gs_wait_text"), "text", texts)

	@staticmethod
	def function(name):
		symbol = gdb.lookup_global_symbol(name)
		if symbol is None:
			raise gdb.GdbError(
				"gsched: no debugging information of libgo-user here: the program (or "
				"libgo-user.so.0) is stripped, or does not use it, or was not started"
			)
		return symbol

	def file_of(self, function):
		return self.function(function).symtab

	def variable(self, symtab, name, block=None):
		symbol = gdb.lookup_symbol(name, block or symtab.static_block())[0]
		if symbol is None:
			raise gdb.GdbError(f"gsched: libgo-user has no {name}: this script is of another version")
		return symbol.value()

	def text(self, reason):
		"""As gs_dump; some compilers leave nothing of its table, then by the constant's name."""
		try:
			return self.texts[reason].string()
		except gdb.error:
			name = self.reasons.get(reason, f"reason {reason}")
			return name.removeprefix("GS_WAIT_").replace("_", " ").lower()


def walk(first, link):
	"""A list, which may be broken in the memory of a program that died."""
	seen = set()
	while number(first) and number(first) not in seen:
		seen.add(number(first))
		yield first
		first = first[link]


class Worker:
	def __init__(self, w):
		self.w = w
		self.id = number(w["id"])
		self.tid = number(w["tid"])
		self.cur, self.prev = number(w["cur"]), number(w["prev"])

	def proc(self):
		"""Its proc's number, or None. The slot may be the module's memory, which cores lack."""
		tag = number(self.w["proc_tag"])
		try:
			if number(self.w["slot"].dereference()["proc"]) != tag:
				return None
		except gdb.error:
			pass
		return tag - 1 if tag else None


class Fiber:
	def __init__(self, f, snapshot):
		self.f = f
		self.lib, self.snapshot = snapshot.lib, snapshot
		self.address = number(f.address)
		self.id = number(f["id"])
		self.state, self.reason = number(f["state"]), number(f["reason"])
		self.sp = number(f["ref"]["sp"])
		self.lo = number(f["ref"]["stack"]["lo"])
		self.top = self.lo + number(f["ref"]["stack"]["size"])
		self.frozen = number(f["frozen"])
		self.cold = number(f["cold"])
		self.on_stack = number(f["turns"]) % 2 == 1
		self.area = number(f["tls"].dereference()["area"]) if number(f["tls"]) else 0
		self.worker, self.thread = self.find_thread()

	def stands_on(self, sp):
		"""Is this stack pointer in its stack, or in the upcall area it takes along?"""
		return self.lo <= sp < self.top or (self.area and 0 <= self.area - sp < UPCALL_AREA)

	def find_thread(self):
		"""The worker and the thread on which its calls are; None: its registers were saved.
		A thread may stand in the middle of a switch: then prev has not been completed yet,
		and the stack pointer tells which side it is on."""
		for w in self.snapshot.workers.values():
			if w.cur != self.address and w.prev != self.address:
				continue
			thread = self.snapshot.threads.get(w.tid)
			if w.prev and thread is not None and not self.stands_on(self.snapshot.sp_of(thread)):
				continue
			return w, thread
		if self.on_stack and self.frozen in self.snapshot.workers:
			w = self.snapshot.workers[self.frozen]
			return w, self.snapshot.threads.get(w.tid)
		return None, None

	def begun(self):
		"""Not so: its stack has nothing on it, or the frame that leads to its beginning."""
		if self.worker:
			return True
		return bool(self.cold) and read_word(self.sp + dict(SAVED)["rip"]) != self.lib.entry

	def name(self):
		if not self.cold:
			return ""
		try:
			return self.f["cold"].dereference()["name"].string(errors="replace")
		except gdb.error:
			return "?"

	def locked(self):
		return bool(self.cold) and number(self.f["locks"]) != 0

	def what(self):
		if self.worker and self.worker.cur == self.address:
			text = "running" if self.worker.proc() is not None else "running, no proc"
		elif self.state == self.lib.running:
			text = "running"
		elif self.worker and self.frozen:
			text = self.lib.text(self.lib.preempted) + ", keeps its thread"
		elif not self.begun():
			text = "not begun"
		elif self.state == self.lib.waiting or self.reason == self.lib.preempted:
			text = self.lib.text(self.reason)
		else:
			text = "runnable"
		return text + (", locked to thread" if self.locked() else "")

	def title(self):
		name = self.name()
		return f"fiber {self.id} [{self.what()}]" + (f" {name}" if name else "")


class Snapshot:
	"""The runtime as it stands now."""

	def __init__(self):
		if gdb.selected_thread() is None:
			raise gdb.GdbError("gsched: no process and no core file")
		self.lib = Library()
		self.threads = {t.ptid[1]: t for t in gdb.selected_inferior().threads()}
		self.sps = {}
		first = self.lib.variable(self.lib.worker_c, "workers")
		self.workers = {number(w): Worker(w.dereference()) for w in walk(first, "next")}
		self.chunks = self.lib.variable(self.lib.fiber_c, "chunks")

	def sp_of(self, thread):
		if thread.num not in self.sps:
			with Elsewhere(thread):
				self.sps[thread.num] = number(gdb.newest_frame().read_register("rsp"))
		return self.sps[thread.num]

	def raw(self):
		for chunk in walk(self.chunks, "next"):
			for i in range(number(chunk["used"])):
				f = chunk["fibers"][i]
				if number(f["state"]) not in (self.lib.idle, self.lib.dead):
					yield f

	def fibers(self):
		return sorted((Fiber(f, self) for f in self.raw()), key=lambda f: f.id)

	def fiber(self, text):
		wanted = number(gdb.parse_and_eval(text))
		for f in self.raw():
			if number(f["id"]) == wanted:
				return Fiber(f, self)
		raise gdb.GdbError(f"gsched: no fiber {wanted}")


def read_word(address):
	return int.from_bytes(gdb.selected_inferior().read_memory(address, 8).tobytes(), "little")


# --- the calls of a fiber ---------------------------------------------------------------


class FrameId:
	def __init__(self, sp, pc):
		self.sp, self.pc = gdb.Value(sp), gdb.Value(pc)


class Seed:
	"""Saved registers, and the innermost frame of a thread that they are hung onto."""

	def __init__(self, fiber):
		self.fiber = fiber.id
		base = gdb.newest_frame()
		self.base_sp = number(base.read_register("rsp"))
		self.base_pc = number(base.read_register("rip"))
		self.level = -1  # that frame's
		self.sp = fiber.sp
		self.registers = {name: read_word(fiber.sp + at) for name, at in SAVED}
		self.registers["rsp"] = fiber.sp + SAVED_SIZE


class FiberUnwinder(gdb.unwinder.Unwinder):
	def __init__(self):
		super().__init__("gsched")
		self.seed = None

	def __call__(self, frame):
		seed = self.seed
		if seed is None or number(frame.read_register("rsp")) != seed.base_sp:
			return None
		pc = number(frame.read_register("rip"))
		if pc != seed.base_pc:
			return None
		seed.level = frame.level()
		# below all of the fiber's own: gdb wants frames to lie in order
		info = frame.create_unwind_info(FrameId(seed.sp, pc))
		word = frame.architecture().integer_type(64, False)
		for name, value in seed.registers.items():
			info.add_saved_register(name, gdb.Value(value).cast(word))
		return info


class FiberFilter:
	"""Backtraces without the thread's own frame, while a fiber is selected that has none."""

	def __init__(self):
		self.name, self.priority, self.enabled = "gsched", 1000, False
		gdb.frame_filters[self.name] = self

	def filter(self, frames):
		newest = gdb.newest_frame()
		seed = unwinder.seed
		ours = (
			seed is not None
			and number(newest.read_register("rsp")) == seed.base_sp
			and number(newest.read_register("rip")) == seed.base_pc
		)
		return (f for f in frames if not ours or f.inferior_frame().level() > seed.level)


unwinder = FiberUnwinder()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)
frame_filter = FiberFilter()


def plant(seed):
	unwinder.seed = seed
	frame_filter.enabled = seed is not None
	gdb.invalidate_cached_frames()


def forget(_event):
	"""The program goes on, or is gone: nothing is where it was."""
	if unwinder.seed is not None:
		plant(None)


gdb.events.cont.connect(forget)
gdb.events.exited.connect(forget)


def select_level(level):
	frame = gdb.newest_frame()
	while frame is not None and frame.level() < level:
		frame = frame.older()
	if frame is not None:
		frame.select()


class Elsewhere:
	"""Another thread, or a fiber's calls (a seed), for a while."""

	def __init__(self, thread=None):
		self.to = thread

	def __enter__(self):
		self.thread, self.seed = gdb.selected_thread(), unwinder.seed
		self.level = gdb.selected_frame().level()
		if self.seed is not None:
			plant(None)
		if self.to is not None and self.to.num != self.thread.num:
			self.to.switch()
		return self

	def __exit__(self, *_exc):
		if gdb.selected_thread() is None or gdb.selected_thread().num != self.thread.num:
			self.thread.switch()
		plant(self.seed)
		select_level(self.level)


def go_to(fiber):
	"""Make its calls those that gdb sees; for good, but for within Elsewhere."""
	if fiber.worker:
		if fiber.thread is None:
			raise gdb.GdbError(f"gsched: gdb has no thread {fiber.worker.tid}, on which {fiber.title()} is")
		plant(None)
		fiber.thread.switch()
		return
	if not fiber.begun():
		raise gdb.GdbError(
			f"gsched: {fiber.title()} has no calls yet: it will begin in "
			f"{place_of(number(fiber.f['fn']))}"
		)
	plant(None)
	plant(Seed(fiber))


def calls(limit=None):
	"""The frames of what go_to went to, from the innermost on."""
	frame = gdb.newest_frame()
	n = 0
	while frame is not None and (limit is None or n < limit):
		# the unwinder has set the level by the time there is an older one
		older = frame.older()
		if unwinder.seed is None or frame.level() > unwinder.seed.level >= 0:
			n += 1
			yield frame
		frame = older


def own(frame, lib):
	"""Is it the library's, or between that and the program?"""
	symtab = frame.find_sal().symtab
	if symtab is not None and symtab.filename.startswith(lib.dir):
		return True
	return frame.type() == gdb.SIGTRAMP_FRAME or not frame.name()


def in_libc(frame):
	"""By its object; in a static program, by what has no lines, or whose source is libc's."""
	object_file = os.path.basename(gdb.solib_name(frame.pc()) or "")
	symtab = frame.find_sal().symtab
	return (
		object_file.startswith(("libc.so", "libpthread.so", "ld-linux"))
		or symtab is None
		or symtab.filename.startswith("../sysdeps/")
	)


def program_frame(lib):
	"""The innermost that is the program's, or libc's if that has called the fiber, else the
	innermost."""
	first = named = None
	for frame in calls(RUNTIME_FRAMES):
		first = first or frame
		if own(frame, lib):
			continue
		if not in_libc(frame):
			return frame
		named = named or frame
	return named or first


def function_at(pc):
	block = gdb.block_for_pc(pc)
	while block is not None and block.function is None:
		block = block.superblock
	if block is not None:
		return block.function.name
	said = gdb.execute(f"info symbol {pc}", to_string=True)
	return said.split()[0] if " in section " in said else hex(pc)


def place_of(pc):
	sal = gdb.find_pc_line(pc)
	at = f" at {os.path.basename(sal.symtab.filename)}:{sal.line}" if sal.symtab else ""
	return function_at(pc) + at


def where(fiber):
	if not fiber.begun():
		return place_of(number(fiber.f["fn"]))
	with Elsewhere():
		go_to(fiber)
		frame = program_frame(fiber.lib)
		if frame is None:
			return "?"
		sal = frame.find_sal()
		at = f" at {os.path.basename(sal.symtab.filename)}:{sal.line}" if sal.symtab else ""
		return (frame.name() or hex(frame.pc())) + at


def table(head, rows):
	rows = [head, *([str(cell) for cell in row] for row in rows)]
	widths = [max(len(row[i]) for row in rows) for i in range(len(head) - 1)] + [0]
	for row in rows:
		print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def dash(value):
	return "-" if value is None else value


def attempt(function, *args):
	"""Memory that is not there costs a cell, not the table."""
	try:
		return function(*args)
	except gdb.error as why:
		return f"({why})"
	except gdb.GdbError as why:
		return f"({why})"


# --- commands ----------------------------------------------------------------------------


class Gs(gdb.Command):
	"""Fibers of a program that uses libgo-user, in a process and in a core file."""

	def __init__(self):
		super().__init__("gs", gdb.COMMAND_STACK, prefix=True)


class Fibers(gdb.Command):
	"""List all fibers: gs fibers [-s]

Number, what it does or waits for, worker and proc it is on, name, and where it is in the
program: the innermost call that is not the library's. -s: without the latter, which takes a second
for some thousands."""

	def __init__(self, name):
		super().__init__(name, gdb.COMMAND_STATUS)

	def invoke(self, arg, _tty):
		snapshot = Snapshot()
		short = arg.strip() == "-s"
		if arg and not short:
			raise gdb.GdbError("gsched: gs fibers [-s]")
		rows = []
		for f in snapshot.fibers():
			w = f.worker or snapshot.workers.get(f.frozen)
			rows.append(
				[
					f.id,
					attempt(f.what),
					w.id if w else "-",
					dash(w.proc()) if w else "-",
					f.name() or "-",
					"" if short else attempt(where, f),
				]
			)
		if rows:
			table(["Fiber", "State", "Worker", "Proc", "Name", "" if short else "Where"], rows)
		else:
			print("No fibers.")


class SelectFiber(gdb.Command):
	"""Select a fiber: gs fiber [NUMBER | -]; the number may be an expression.

From then on backtrace, frame, up, down, info locals and the like are about its calls, until the
program goes on or "gs fiber -". A fiber that is on a thread selects that. One that is not has the
selected thread as its place to stay; "thread" and the frame 0 are still that thread's own, and
so are registers that a switch does not keep and thread-local variables. Do not step: it is the
thread that would. Without a number: which one is selected."""

	def __init__(self):
		super().__init__("gs fiber", gdb.COMMAND_STACK)

	def invoke(self, arg, _tty):
		snapshot = Snapshot()
		arg = arg.strip()
		if not arg:
			print(f"fiber {unwinder.seed.fiber} is selected" if unwinder.seed else
			      "no fiber is selected but what the thread runs")
			return
		if arg == "-":
			plant(None)
			gdb.newest_frame().select()
			return
		fiber = snapshot.fiber(arg)
		title = fiber.title()
		go_to(fiber)
		frame = program_frame(snapshot.lib)
		if frame is None:
			plant(None)
			raise gdb.GdbError(f"gsched: {title}: its stack cannot be read")
		frame.select()
		print(title)
		gdb.execute("frame")


class Backtrace(gdb.Command):
	"""Backtraces of fibers: gs bt NUMBER|all [arguments of backtrace]"""

	def __init__(self):
		super().__init__("gs bt", gdb.COMMAND_STACK)

	def one(self, fiber, arguments):
		print(fiber.title())
		if not fiber.begun():
			print(f"not begun: {place_of(number(fiber.f['fn']))}")
		else:
			with Elsewhere():
				go_to(fiber)
				gdb.execute(f"backtrace {arguments}")
		from_pc = number(fiber.f["from"])
		if from_pc:
			print(f"created by {place_of(from_pc - 1)}")

	def invoke(self, arg, _tty):
		which, _, arguments = arg.strip().partition(" ")
		if not which:
			raise gdb.GdbError("gsched: gs bt NUMBER|all [arguments of backtrace]")
		snapshot = Snapshot()
		if which != "all":
			self.one(snapshot.fiber(which), arguments)
			return
		for fiber in snapshot.fibers():
			try:
				self.one(fiber, arguments)
			except (gdb.error, gdb.GdbError) as why:
				print(why)
			print()


class Workers(gdb.Command):
	"""List the worker threads: number, thread id, gdb's thread, proc and fiber."""

	def __init__(self):
		super().__init__("gs workers", gdb.COMMAND_STATUS)

	def invoke(self, _arg, _tty):
		snapshot = Snapshot()
		fibers = snapshot.fibers()
		held = {f.worker.id: f for f in fibers if f.worker}
		rows = []
		for w in sorted(snapshot.workers.values(), key=lambda w: w.id):
			thread = snapshot.threads.get(w.tid)
			f = held.get(w.id)
			rows.append(
				[
					w.id,
					w.tid,
					thread.num if thread else "-",
					dash(w.proc()),
					f.id if f else "-",
					attempt(f.what) if f else "searches" if w.proc() is not None else "parked",
				]
			)
		table(["Worker", "Tid", "Thread", "Proc", "Fiber", "State"], rows)


class Procs(gdb.Command):
	"""List the procs: number, worker and fiber on it, fibers in its queue, schedulings."""

	def __init__(self):
		super().__init__("gs procs", gdb.COMMAND_STATUS)

	@staticmethod
	def queued(proc):
		line = proc["line"].dereference()
		return (number(line["tail"]) - number(line["head"])) % (1 << 32) + (number(line["runnext"]) != 0)

	def invoke(self, _arg, _tty):
		snapshot = Snapshot()
		owners = {w.proc(): w for w in snapshot.workers.values()}
		running = {f.worker.id: f.id for f in snapshot.fibers() if f.worker}
		rows = []
		for i in range(snapshot.lib.procs.type.range()[1] + 1):
			proc = snapshot.lib.procs[i]
			w = owners.get(i)
			turns = number(proc["turn"])
			# how many there are stands in memory that a core may lack
			if w is None and not turns:
				continue
			rows.append(
				[
					i,
					w.id if w else "-",
					running.get(w.id, "-") if w else "-",
					attempt(self.queued, proc),
					turns,
				]
			)
		table(["Proc", "Worker", "Fiber", "Queued", "Turns"], rows)


Gs()
Fibers("gs fibers")
Fibers("info gs-fibers")
SelectFiber()
Backtrace()
Workers()
Procs()

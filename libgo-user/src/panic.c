/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deferred calls, panics, gs_exit.
 *
 * A fiber has one list of deferred calls, the newest first, and a stack of what is
 * going on with it: panics, and gs_exit calls, the newest first. Both belong to the
 * fiber; no lock protects them, nobody else ever looks.
 *
 *	fn returned	run the list, end
 *	gs_exit		push a mark, unwind the stack and run the list, end without completion
 *	gs_panic	push a panic, unwind and run the list; recovered? see below. Else die.
 *
 * Unwinding is the forced unwind of the C++ ABI, which asks stop() at each frame before
 * that frame's clean-ups. There the deferred calls run that belong to the frame: those of
 * its GS_DEFER_SCOPE, or of a node that the library keeps in it; what has no scope belongs
 * to the fiber's first frame. So calls and destructors alternate, the innermost frame first,
 * and in each frame its calls come before its destructors. Frames without clean-ups are just
 * passed, so plain C needs no -fexceptions. Which frame a scope lies in, one walk tells
 * before (locate): stop() sees a frame's lower end only.
 *
 * When the list is empty and nobody has recovered, the process dies at once, for nobody can
 * any more: what still stands of the stack is in the report. A frame that has clean-ups
 * may be gone by then, so the backtrace is kept before the first of them.
 *
 * None of the three comes back, so a panic in a deferred call simply unwinds and runs
 * the rest of the list on behalf of what is now the newest. Each deferred call remembers the
 * serial number of the panic or exit under which it was made (0: in ordinary code). It can
 * recover newer ones only: what was going on already when it was made is not its own
 * (Go: the function that deferred it is not the one that panics). When it recovers one,
 * that is dropped together with everything newer than what the call was made under, for
 * these are the frames that the recovered panic unwinds in Go:
 *
 *	D1, D2 deferred; panic p1 runs D2; D2 panics p2; D1 recovers p2: D1 was made
 *	in ordinary code, so p1 goes with p2 (Go: aborted), and the fiber ends.
 *
 *	D1 deferred; panic p1 runs D1; D1 defers E and panics p2; E recovers p2: E was
 *	made under p1, so p1 goes on, as if D1 had returned.
 *
 * An exit is never dropped: Goexit cannot be recovered from.
 *
 * A call of a GS_DEFER_SCOPE recovers: the rest of them run, then the stack is unwound to
 * the function's caller, as if the function had returned 0. One without a scope: the
 * stack is unwound to its end, as if the fiber's function had returned.
 *
 * Invariants:
 *  - a deferred call is off the list before it runs, so none runs twice;
 *  - a gs_panic_state lives on the heap: clean-ups run over the stack of who raised it.
 */
#include "panic.h"

#include <gsched/runtime.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "arch.h"
#include "backtrace.h"
#include "base/fatal.h"
#include "base/list.h"
#include "base/sanitizer.h"
#include "base/syscall.h"
#include "fiber.h"
#include "local.h"
#include "sched.h"

#define MAX_FRAMES 100

struct gs_panic_state {
	struct _Unwind_Exception exception;
	struct gs_panic_state *link; /* the one that was going on before */
	uint64_t serial;	     /* of the fiber's; the newer, the larger */
	bool exit;		     /* gs_exit, no panic */
	bool returned;		     /* an exit that ends as if the fiber's function returned */
	bool recovered;
	bool repanicked; /* recovered, then raised again with the same text */
	struct scope
		*scope; /* of the deferred call that runs on its behalf: where that recovers to */
	uint64_t under; /* and what it was made under */
	int npcs;	/* the backtrace, kept before a frame went; 0 all stand */
	void *pcs[MAX_FRAMES];
	char text[1024];
};

/* A struct gs_defer_scope: in the frame of the function whose it is. */
struct scope {
	struct scope *outer;
	struct scope *outer_place;
	struct gs_deferred *top; /* of the list when it was entered */
	uintptr_t frame;	 /* the stack pointer of the frame it lies in, when located */
	uint64_t running;	 /* as in struct unwind, when it was entered */
};

_Static_assert(sizeof(struct scope) <= sizeof(struct gs_defer_scope), "runtime.h reserves it");

/* The 64 bytes of each fiber. */
struct unwind {
	struct gs_deferred *top;
	struct gs_deferred *node; /* the newest on the list that lies in a frame */
	struct gs_panic_state *now;
	char *recovered;     /* malloc'd text gs_recover returned last */
	struct scope *scope; /* the innermost one */
	struct scope *place; /* the same; in a deferred call without a scope, the call's */
	uint64_t serial;     /* of the last panic or exit */
	uint64_t running;    /* a deferred call: one more than what it was made under */
};

_Static_assert(sizeof(struct unwind) <= 64, "fiber.h reserves 64 bytes");

/* NULL on an ordinary thread. The area is the fiber's, wherever it runs. */
static struct unwind *unwind_self(void)
{
	struct unwind *u;

	gs_rt_enter();
	u = gs_fiber_unwind_area();
	gs_rt_leave();
	return u;
}

static _Unwind_Reason_Code stop(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
				struct _Unwind_Exception *e, struct _Unwind_Context *context,
				void *arg);

/* ------------------------------------------------------------------------- */
/* The report                                                                  */

/* Go's: the second and later lines of a text are indented. */
static void say_text(const char *s)
{
	const char *nl;

	while ((nl = strchr(s, '\n'))) {
		gs_write_all(2, s, (size_t)(nl - s) + 1);
		gs_write_all(2, "\t", 1);
		s = nl + 1;
	}
	gs_write_all(2, s, strlen(s));
}

static void say(const char *s)
{
	gs_write_all(2, s, strlen(s));
}

/* Oldest first, the later ones indented; one raised again is printed once. */
static void say_panics(const struct gs_panic_state *p)
{
	if (p->link) {
		say_panics(p->link);
		if (p->link->repanicked)
			return;
		if (!p->link->exit)
			say("\t");
	}
	if (p->exit)
		return;
	say("panic: ");
	say_text(p->text);
	if (p->repanicked)
		say(" [recovered, repanicked]");
	else if (p->recovered)
		say(" [recovered]");
	say("\n");
}

/*
 * The newest panic's frames. Where they come to the unwinding of the one before, its own
 * go on, as they were kept: what stood below may be gone.
 */
static void say_frames(const struct gs_panic_state *p)
{
	void *own[MAX_FRAMES], *const *pcs = p->pcs;
	int n = p->npcs, i = 0;

	if (!n) {
		pcs = own;
		n = gs_backtrace_keep(own, MAX_FRAMES, 2);
	}
	for (p = p->link; p && p->npcs; p = p->link) {
		while (i < n && _Unwind_FindEnclosingFunction(pcs[i]) != (void *)stop)
			i++;
		gs_backtrace_print_kept(2, pcs, i);
		if (i == n)
			return;
		pcs = p->pcs;
		n = p->npcs;
		i = 0;
	}
	gs_backtrace_print_kept(2, pcs, n);
}

static _Noreturn void __attribute__((noinline)) die(const struct gs_panic_state *p)
{
	uint64_t id = gs_id();
	char buf[64];
	int n;

	gs_dying();
	say_panics(p);
	n = snprintf(buf, sizeof(buf), "\n%s %llu [running]:\n", id ? "fiber" : "thread",
		     (unsigned long long)(id ? id : (uint64_t)gs_syscall3(SYS_gettid, 0, 0, 0)));
	gs_write_all(2, buf, (size_t)n);
	say_frames(p);
	gs_die(2);
}

/* ------------------------------------------------------------------------- */
/* Running the list                                                            */

/*
 * A deferred call may fork. No other is called in the child, where the caller of the one that
 * did goes on as an ordinary thread; where there is nobody to go on, the process ends.
 */
static bool in_child(void)
{
	return gs_unlikely(!gs_arch_self());
}

/* The newest deferred call of the list, off it. */
static bool take(struct unwind *u, struct gs_deferred *copy)
{
	struct gs_deferred *d = u->top;

	if (!d)
		return false;
	*copy = *d;
	u->top = d->next;
	if (d->heap)
		free(d);
	else
		u->node = copy->outer;
	return true;
}

static void call(struct unwind *u, const struct gs_deferred *d)
{
	uint64_t running = u->running;

	u->running = d->under + 1;
	d->fn(d->arg);
	u->running = running;
}

static void drop_newest(struct unwind *u)
{
	struct gs_panic_state *p = u->now;

	u->now = p->link;
	free(p);
}

static void free_all(struct unwind *u)
{
	while (u->now)
		drop_newest(u);
	free(u->recovered);
	u->recovered = NULL;
	/* destructors come after it: local.c */
	u->scope = u->place = NULL;
	u->running = 0;
}

static _Noreturn void end_exit(struct unwind *u)
{
	free_all(u);
	gs_fiber_finish(false);
}

/* As if the fiber's function had returned and its deferred calls had run. */
static _Noreturn void end_normally(struct unwind *u)
{
	free_all(u);
	gs_fiber_finish(true);
}

/* ------------------------------------------------------------------------- */
/* Back to a function's caller                                                 */

/* Lives on the heap: clean-ups run over the stack that is left. */
struct leaving {
	struct _Unwind_Exception exception;
	const struct scope *scope;
};

static void caught_leaving(_Unwind_Reason_Code code, struct _Unwind_Exception *e)
{
	(void)code;
	(void)e;
	gs_fatal("gs_recover: a catch (...) did not rethrow");
}

/* For each frame, before its clean-ups: is it the caller of the scope's function? */
static _Unwind_Reason_Code stop_at_caller(int version, _Unwind_Action actions,
					  _Unwind_Exception_Class class,
					  struct _Unwind_Exception *e,
					  struct _Unwind_Context *context, void *arg)
{
	struct leaving *l = arg;
	struct gs_arch_frame_regs regs;

	(void)version;
	(void)class;
	(void)e;
	/* the stack grows down: the scope lies above its function's stack pointer */
	if ((uintptr_t)_Unwind_GetCFA(context) <= (uintptr_t)l->scope) {
		if (actions & _UA_END_OF_STACK)
			gs_fatal("gs_recover: the stack cannot be unwound");
		return _URC_NO_REASON;
	}
	gs_arch_frame_of(context, &regs);
	free(l);
	gs_san_no_return();
	gs_arch_return_zero(&regs);
}

/* A call of this scope recovered: the others run, and its function returns. */
static _Noreturn void leave_scope(struct unwind *u, struct scope *s)
{
	struct gs_deferred d;
	struct leaving *l;

	u->scope = u->place = s;
	while (!in_child() && u->top != s->top && take(u, &d))
		call(u, &d);
	/* not before: they may leave, too */
	l = calloc(1, sizeof(*l));
	if (!l)
		gs_fatal("gs_recover: out of memory");
	u->scope = s->outer;
	u->place = s->outer_place;
	u->running = s->running;
	l->scope = s;
	l->exception.exception_cleanup = caught_leaving;
	_Unwind_ForcedUnwind(&l->exception, stop_at_caller, l);
	gs_fatal("gs_recover: the stack cannot be unwound");
}

int gs_defer_scope_enter(struct gs_defer_scope *scope)
{
	struct unwind *u = unwind_self();
	struct scope *s = (struct scope *)scope;

	if (!u)
		return 0;
	s->outer = u->scope;
	s->outer_place = u->place;
	s->top = u->top;
	s->frame = UINTPTR_MAX;
	s->running = u->running;
	u->scope = u->place = s;
	return 0;
}

void gs_defer_scope_leave(struct gs_defer_scope *scope)
{
	struct scope *s = (struct scope *)scope;
	struct unwind *u = unwind_self();
	struct gs_deferred d;

	/* its frame is being unwound: all is done */
	if (!u || u->scope != s)
		return;
	while (u->top != s->top && take(u, &d)) {
		call(u, &d);
		if (in_child())
			return;
	}
	u->scope = s->outer;
	u->place = s->outer_place;
}

/* ------------------------------------------------------------------------- */
/* Unwinding                                                                   */

static _Noreturn void unwind(struct unwind *u);

/*
 * Run the newest deferred call on behalf of the newest panic or exit. Does not come
 * back if it recovered.
 */
static void run_newest(struct unwind *u)
{
	struct gs_panic_state *p = u->now;
	struct scope *scope;
	struct gs_deferred d;
	uint64_t under;

	if (!take(u, &d))
		return;
	p->scope = scope = d.scope;
	p->under = under = d.under;
	/* what it defers itself, without a scope of its own, is next */
	u->scope = NULL;
	u->place = d.place;
	call(u, &d);
	if (in_child())
		exit(0);
	/* a panic or exit in it did not come back here: p is still the newest */
	if (!p->recovered)
		return;
	for (;;) {
		while (u->now && u->now->serial > under && !u->now->exit) {
			if (!u->now->link && !scope) {
				/* the last, and no function to return from but the fiber's */
				u->now->exit = u->now->returned = true;
				u->now->recovered = false;
				break;
			}
			drop_newest(u);
		}
		/*
		 * It was made by a deferred call that had recovered from an older panic before
		 * it panicked itself: that call has returned now.
		 */
		if (scope || !u->now || u->now->exit || !u->now->recovered)
			break;
		scope = u->now->scope;
		under = u->now->under;
	}
	if (scope && (!u->now || u->now->serial <= under))
		leave_scope(u, scope);
	unwind(u);
}

/* The stack has been unwound, or cannot be any further. */
static _Noreturn void run_rest(struct unwind *u)
{
	while (u->top)
		run_newest(u);
	if (!u->now->exit)
		die(u->now);
	if (u->now->returned)
		end_normally(u);
	end_exit(u);
}

struct locate {
	struct gs_deferred *node, *deferred; /* not found yet */
	uintptr_t frame;		     /* the frame before */
};

/* For each frame, from the innermost: what lies between the last one's end and its own? */
static _Unwind_Reason_Code locate(struct _Unwind_Context *context, void *arg)
{
	struct locate *l = arg;
	uintptr_t frame = (uintptr_t)_Unwind_GetCFA(context);

	for (; l->node && (uintptr_t)l->node < frame; l->node = l->node->outer)
		l->node->frame = l->frame;
	for (; l->deferred; l->deferred = l->deferred->next) {
		struct scope *place = l->deferred->place;

		if (!l->deferred->heap)
			continue;
		if (!place) /* nor have the older ones */
			l->deferred = NULL;
		if (!place || (uintptr_t)place >= frame)
			break;
		place->frame = l->frame;
	}
	l->frame = frame;
	return l->node || l->deferred ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* Before the clean-ups of each frame. */
static _Unwind_Reason_Code stop(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
				struct _Unwind_Exception *e, struct _Unwind_Context *context,
				void *arg)
{
	uintptr_t frame = (uintptr_t)_Unwind_GetCFA(context);
	struct gs_panic_state *p = arg;
	struct unwind *u = unwind_self();

	(void)version;
	(void)class;
	(void)e;
	for (;;) {
		if (!u->top && !p->exit)
			die(p);
		if (u->node && u->node->frame <= frame) {
			struct gs_deferred *upto = u->node->next;

			while (u->top != upto)
				run_newest(u);
		} else if (u->top && u->top->place && u->top->place->frame <= frame) {
			run_newest(u);
		} else {
			break;
		}
	}
	if (actions & _UA_END_OF_STACK)
		run_rest(u);
	if (!p->exit && !p->npcs && _Unwind_GetLanguageSpecificData(context))
		p->npcs = gs_backtrace_keep(p->pcs, MAX_FRAMES, 1);
	return _URC_NO_REASON;
}

static void caught(_Unwind_Reason_Code code, struct _Unwind_Exception *e)
{
	struct gs_panic_state *p = gs_container_of(e, struct gs_panic_state, exception);

	(void)code;
	if (!p->exit)
		die(p);
	gs_fatal("gs_exit: a catch (...) did not rethrow");
}

/* On behalf of the newest panic or exit, from here on. */
static _Noreturn void unwind(struct unwind *u)
{
	struct gs_panic_state *p = u->now;
	struct locate l = {.node = u->node, .deferred = u->top};

	/* nobody will recover: the stack stays as it is, for the report */
	if (!u->top && !p->exit)
		die(p);
	u->scope = u->place = NULL;
	u->running = 0;
	if (u->top)
		_Unwind_Backtrace(locate, &l);
	gs_san_no_return();
	memset(&p->exception, 0, sizeof(p->exception));
	p->exception.exception_cleanup = caught;
	_Unwind_ForcedUnwind(&p->exception, stop, p);
	/* there is no way through */
	run_rest(u);
}

/* The fiber's function returned. */
static void exit_hook(void *area)
{
	struct unwind *u = area;
	struct gs_deferred d;

	while (take(u, &d)) {
		call(u, &d);
		if (in_child())
			exit(0);
	}
	if (gs_unlikely(u->recovered != NULL)) {
		free(u->recovered);
		u->recovered = NULL;
	}
}

void gs_panic_init(void)
{
	gs_fiber_set_exit_hook(exit_hook);
}

static void push(struct unwind *u, struct gs_panic_state *p, bool exit)
{
	p->serial = ++u->serial;
	p->exit = exit;
	p->returned = false;
	p->recovered = false;
	p->repanicked = false;
	p->npcs = 0;
	p->link = u->now;
	u->now = p;
}

_Noreturn void gs_exit(void)
{
	struct unwind *u = unwind_self();
	struct gs_panic_state *mark;

	if (!u)
		gs_panic("gs_exit outside of a fiber");
	mark = malloc(sizeof(*mark));
	if (!mark)
		gs_fatal("gs_exit: out of memory");
	push(u, mark, true);
	unwind(u);
}

_Noreturn void __attribute__((noinline)) gs_panic(const char *fmt, ...)
{
	struct unwind *u = unwind_self(), none = {0};
	struct gs_panic_state here, *p = NULL;
	va_list ap;

	/* what is done between nopreempt_begin and end cannot be left half done */
	if (u && !gs_arch_pinned())
		p = malloc(sizeof(*p));
	if (!p)
		p = &here; /* it ends here */
	va_start(ap, fmt);
	vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
	push(u ? u : &none, p, false);
	if (p->link && p->link->recovered && !strcmp(p->link->text, p->text))
		p->link->repanicked = true;
	if (p == &here)
		die(p);
	unwind(u);
}

/* ------------------------------------------------------------------------- */

const char *gs_recover(void)
{
	struct unwind *u = unwind_self();
	struct gs_panic_state *p = u ? u->now : NULL;
	char *text;

	if (!p || p->exit || p->recovered || !u->running || p->serial < u->running)
		return NULL;
	text = strdup(p->text);
	if (!text)
		gs_fatal("gs_recover: out of memory");
	free(u->recovered);
	u->recovered = text;
	p->recovered = true;
	return text;
}

void gs_defer_push(struct gs_deferred *d, void (*fn)(void *), void *arg)
{
	struct unwind *u = unwind_self();

	d->fn = fn;
	d->arg = arg;
	d->heap = false;
	if (!u)
		return;
	d->under = u->now ? u->now->serial : 0;
	d->scope = NULL;
	d->place = NULL;
	d->frame = UINTPTR_MAX;
	d->outer = u->node;
	u->node = d;
	d->next = u->top;
	u->top = d;
}

void gs_defer_pop(struct gs_deferred *d)
{
	struct unwind *u = unwind_self();
	struct gs_deferred **at, copy = *d;

	/* calls deferred meanwhile, by fn of gs_once_do say, stay for the fiber's end */
	if (!u) {
		copy.fn(copy.arg);
		return;
	}
	for (at = &u->top; *at; at = &(*at)->next)
		if (*at == d) {
			*at = d->next;
			break;
		}
	u->node = copy.outer;
	call(u, &copy);
}

void gs_defer_run(struct gs_deferred *d)
{
	struct unwind *u = unwind_self();
	struct gs_deferred copy;

	while (u && u->top != d && take(u, &copy))
		call(u, &copy);
	gs_defer_pop(d);
}

struct last {
	void (*fn)(void *arg);
	void *arg;
};

/* A destructor called gs_exit: now for the others. */
static void last(void *arg)
{
	struct last *l = arg;

	gs_defer_last(l->fn, l->arg);
}

void gs_defer_last(void (*fn)(void *), void *arg)
{
	struct last l = {fn, arg};
	struct gs_deferred d;
	struct unwind *u;

	if (gs_likely(!gs_local_any())) {
		fn(arg);
		return;
	}
	u = unwind_self();
	/* who dies of a panic leaves all as it is */
	if (u->now && !u->now->exit) {
		fn(arg);
		return;
	}
	gs_defer_push(&d, last, &l);
	gs_local_end(gs_self_outside());
	gs_defer_run(&d);
}

void gs_defer(void (*fn)(void *), void *arg)
{
	struct unwind *u = unwind_self();
	struct gs_deferred *d;

	if (!u)
		gs_panic("gs_defer outside of a fiber");
	d = malloc(sizeof(*d));
	if (!d)
		gs_fatal("gs_defer: out of memory");
	d->fn = fn;
	d->arg = arg;
	d->heap = true;
	d->under = u->now ? u->now->serial : 0;
	d->scope = u->scope;
	d->place = u->place;
	d->next = u->top;
	u->top = d;
}

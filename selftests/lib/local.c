// SPDX-License-Identifier: GPL-2.0
/* gs_local: values of fibers and of threads, keys, destructors. */
#include <gsched/chan.h>
#include <gsched/local.h>
#include <gsched/select.h>
#include <gsched/sync.h>
#include <malloc.h>
#include <pthread.h>

#include "interrupts.h"

#ifdef UT_ASAN
int __lsan_do_recoverable_leak_check(void);
#define EXPECT_NO_LEAK() EXPECT_EQ(0, __lsan_do_recoverable_leak_check())
#else
#define EXPECT_NO_LEAK() ((void)0)
#endif

static gs_waitgroup all;

/* ------------------------------------------------------------------------- */
/* Values                                                                      */

#define KEYS 40

static gs_local keys[KEYS];
static long set_values, destroyed; /* atomic */

static void *value_of(long me, long k)
{
	return (void *)(me * 1000 + k + 1);
}

static void count_destroyed(void *value)
{
	CHECK(value);
	ADD(destroyed, 1);
}

static void make_keys(void)
{
	for (int k = 0; k < KEYS; k++)
		CHECK_EQ(gs_local_create(&keys[k], count_destroyed), 0);
	STORE(set_values, 0);
	STORE(destroyed, 0);
}

static void delete_keys(void)
{
	for (int k = 0; k < KEYS; k++)
		gs_local_delete(keys[k]);
}

static void own_values(void *arg)
{
	long me = (long)arg;

	for (int k = 0; k < KEYS; k++)
		CHECK_EQ(gs_local_get(keys[k]), NULL);
	/* now these, now those: tables of every size */
	for (long k = me % KEYS; k < KEYS; k += 1 + me % 3) {
		CHECK_EQ(gs_local_set(keys[k], value_of(me, k)), 0);
		ADD(set_values, 1);
		gs_yield();
	}
	for (int round = 0; round < 4; round++) {
		if (me % 16 == round)
			gs_sleep(1000);
		gs_yield();
		for (long k = 0; k < KEYS; k++) {
			bool mine = k >= me % KEYS && (k - me % KEYS) % (1 + me % 3) == 0;

			CHECK_EQ(gs_local_get(keys[k]), mine ? value_of(me, k) : NULL);
		}
	}
}

static void own_values_main(void *arg)
{
	long n = ut_count(3000, 100);

	/* twice: dead fibers are used again */
	for (int round = 0; round < 2; round++) {
		for (long i = 0; i < n; i++)
			CHECK_EQ(gs_wg_go(&all, own_values, (void *)(round * n + i)), 0);
		gs_wg_wait(&all);
		CHECK_EQ(LOAD(destroyed), LOAD(set_values));
		CHECK_GT(LOAD(destroyed), n);
	}
}

/* many fibers with many keys: NULL at first, then what each set, wherever it runs */
TEST(fibers_have_values)
{
	make_keys();
	RUN(own_values_main, NULL);
	EXPECT_NO_LEAK();
}

static void *own_values_thread(void *arg)
{
	own_values(arg);
	return NULL;
}

static void threads_main(void *arg)
{
	pthread_t t[8];

	for (long i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, own_values_thread, (void *)i), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
}

/* the same on threads, before the runtime starts and while it runs, beside fibers */
TEST(threads_have_values)
{
	make_keys();
	threads_main(NULL);
	EXPECT_EQ(LOAD(set_values), LOAD(destroyed));
	EXPECT_EQ(0, gs_local_set(keys[3], &all));
	RUN(own_values_main, NULL);
	RUN(threads_main, NULL);
	EXPECT_EQ(&all, gs_local_get(keys[3]));
	EXPECT_NO_LEAK();
	EXPECT_EQ(LOAD(set_values), LOAD(destroyed));
	EXPECT_EQ(0, ut_failed);
}

/* ------------------------------------------------------------------------- */
/* Interrupted                                                                 */

static int enough;  /* atomic */
static long looked; /* atomic */

static void hog(void *arg)
{
	long me = (long)arg, rounds = 0;

	CHECK_EQ(gs_local_set(keys[me % KEYS], value_of(me, 0)), 0);
	do {
		for (int i = 0; i < 20000; i++) {
			CHECK_EQ(gs_local_get(keys[me % KEYS]), value_of(me, rounds));
			CHECK_EQ(gs_local_get(keys[(me + 1) % KEYS]), NULL);
			rounds = (rounds + 1) % 900;
			CHECK_EQ(gs_local_set(keys[me % KEYS], value_of(me, rounds)), 0);
		}
		ADD(looked, 1);
	} while (!LOAD(enough));
}

static void hogs_main(void *arg)
{
	struct gs_stats *s = arg;

	make_keys();
	for (long i = 0; i < 12; i++)
		CHECK_EQ(gs_wg_go(&all, hog, (void *)(i * 2)), 0);
	UNTIL(stats().upcalls > 50 && LOAD(looked) > 12);
	STORE(enough, 1);
	gs_wg_wait(&all);
	*s = stats();
	CHECK_EQ(LOAD(destroyed), 12);
	delete_keys();
}

static void check_hogs(struct __test_metadata *_metadata, int procs, const char *mode)
{
	struct gs_stats s = {0};

	NEEDS_INTERRUPTS(procs, 100, mode);
	RUN(hogs_main, &s);
	fprintf(stderr, "# %llu upcalls, %llu travels, %llu freezes\n",
		(unsigned long long)s.upcalls, (unsigned long long)s.travels,
		(unsigned long long)s.freezes);
	if (!strcmp(mode, "frozen")) {
		EXPECT_EQ(0u, s.travels);
	} else {
		EXPECT_GT(s.travels, 0u);
	}
}

/* fibers that are interrupted in the midst of it find their own values, elsewhere too */
TEST(interrupted_travel_1)
{
	NEEDS_TRAVEL;
	check_hogs(_metadata, 1, "travel");
}

/* the same on four procs */
TEST(interrupted_travel_4)
{
	NEEDS_TRAVEL;
	check_hogs(_metadata, 4, "travel");
}

/* the same with fibers that keep their threads */
TEST(interrupted_frozen)
{
	check_hogs(_metadata, 2, "frozen");
}

/* the same with thread-local storage of each fiber's own */
TEST(interrupted_own_storage)
{
	NEEDS_TRAVEL;
	check_hogs(_metadata, 2, "fiber");
}

/* ------------------------------------------------------------------------- */
/* Destructors                                                                 */

#define LOG 64

static gs_local first, second, third;
static char trail[LOG + 1]; /* what happened in one fiber, in order */
static int at;

static void note(char c)
{
	if (at < LOG)
		trail[at++] = c;
}

static void restart(void)
{
	memset(trail, 0, sizeof(trail));
	at = 0;
}

static void three_keys(void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
	CHECK_EQ(gs_local_create(&first, a), 0);
	CHECK_EQ(gs_local_create(&second, b), 0);
	CHECK_EQ(gs_local_create(&third, c), 0);
	restart();
}

static void no_keys(void)
{
	gs_local_delete(first);
	gs_local_delete(second);
	gs_local_delete(third);
}

#define TRAIL(what)                                                                                \
	do {                                                                                       \
		if (!CHECK(!strcmp(trail, (what))))                                                \
			fprintf(stderr, "# \"%s\" instead of \"%s\"\n", trail, (what));            \
	} while (0)

static bool alone;

/* one fiber to its very end, and, unless alone, by the waitgroup's word for it */
static void run_one(void (*fn)(void *))
{
	CHECK_EQ(alone ? gs_go(fn, NULL) : gs_wg_go(&all, fn, NULL), 0);
	if (!alone)
		gs_wg_wait(&all);
	UNTIL(gs_num_fibers() == 1);
}

static uint64_t whose;

static void note_char(void *value)
{
	CHECK_EQ(gs_id(), whose);
	note(*(char *)value);
}

static void note_waiting(void *value)
{
	gs_chan *c = gs_chan_new(0, 0);

	note('(');
	gs_yield();
	gs_sleep(MS);
	CHECK_EQ(gs_select_cases(&(struct gs_case){.op = GS_OP_AFTER, .ns = 1000}, 1), 0);
	gs_defer(note_char, value);
	gs_chan_unref(c);
	CHECK_EQ(gs_id(), whose);
	note(')');
}

static void sets_all(void *arg)
{
	whose = gs_id();
	CHECK_EQ(gs_local_set(first, "1"), 0);
	CHECK_EQ(gs_local_set(second, "2"), 0);
	CHECK_EQ(gs_local_set(third, "3"), 0);
}

static void sets_and_defers(void *arg)
{
	GS_DEFER_SCOPE;
	gs_defer(note_char, "d");
	sets_all(NULL);
}

static void fiber_defers(void *arg)
{
	sets_all(NULL);
	gs_defer(note_char, "f");
	sets_and_defers(NULL);
	note('r');
}

static void order_main(void *arg)
{
	three_keys(note_char, note_waiting, note_char);
	for (int i = 0; i < 3; i++) {
		restart();
		run_one(fiber_defers);
		TRAIL("drf1()23");
	}
	restart();
	/* without values, without a destructor */
	run_one(nothing);
	no_keys();
	three_keys(NULL, NULL, note_char);
	run_one(sets_all);
	TRAIL("3");
	no_keys();
}

/* destructors run in the fiber, after what it deferred; they may wait and defer */
TEST(destructors)
{
	RUN(order_main, NULL);
}

static void sets_itself(void *value)
{
	note('s');
	gs_local_set(second, value);
}

static void sets_first_once(void *value)
{
	note('t');
	if (value != &all)
		CHECK_EQ(gs_local_set(first, "1"), 0);
}

static void sets_a_new_one(void *value)
{
	gs_local key;

	/* the table grows under whoever goes through it */
	note('n');
	make_keys();
	for (int k = 0; k < KEYS; k++)
		CHECK_EQ(gs_local_set(keys[k], &keys[k]), 0);
	CHECK_EQ(gs_local_create(&key, NULL), 0);
	CHECK_EQ(gs_local_set(key, &key), 0);
	gs_local_delete(key);
}

static void rounds_main(void *arg)
{
	three_keys(note_char, sets_itself, sets_first_once);
	run_one(sets_all);
	TRAIL("1st1sss");
	no_keys();
	three_keys(NULL, sets_a_new_one, note_char);
	run_one(sets_all);
	TRAIL("n3");
	CHECK_EQ(LOAD(destroyed), KEYS);
	no_keys();
	delete_keys();
}

/* what they set is destroyed in another round, four times at most */
TEST(rounds)
{
	RUN(rounds_main, NULL);
	EXPECT_NO_LEAK();
}

static void *rounds_thread(void *arg)
{
	sets_all(NULL);
	return NULL;
}

/* the same on a thread */
TEST(rounds_on_thread)
{
	pthread_t t;

	three_keys(note_char, sets_itself, sets_first_once);
	CHECK_EQ(pthread_create(&t, NULL, rounds_thread, NULL), 0);
	pthread_join(t, NULL);
	TRAIL("1st1sss");
	EXPECT_EQ(0, ut_failed);
}

static void exits(void *arg)
{
	gs_defer(note_char, "d");
	sets_all(NULL);
	gs_exit();
}

static void recover(void *arg)
{
	CHECK(gs_recover());
	note('r');
}

static void panics(void *arg)
{
	gs_defer(recover, NULL);
	sets_all(NULL);
	gs_panic("recovered below");
}

static int recovers(void)
{
	GS_DEFER_SCOPE;
	gs_defer(recover, NULL);
	gs_panic("recovered in a function");
	return 0;
}

static void returns_recovered(void *arg)
{
	recovers();
	sets_all(NULL);
}

static void exit_in_it(void *value)
{
	note('x');
	gs_defer(note_char, "d");
	gs_exit();
}

static void panic_in_it(void *value)
{
	note('p');
	gs_defer(recover, NULL);
	gs_panic("in a destructor");
}

static void scoped_panic(void *value)
{
	GS_DEFER_SCOPE;
	note('q');
	gs_defer(recover, NULL);
	gs_panic("in a destructor with a scope");
}

static void ends_main(void *arg)
{
	static void (*const ends[])(void *) = {sets_all, exits, panics, returns_recovered};
	static const char *const before[] = {"", "d", "r", "r"};
	char want[LOG];

	alone = arg;
	for (int i = 0; i < 4; i++) {
		three_keys(note_char, note_char, note_char);
		run_one(ends[i]);
		snprintf(want, sizeof(want), "%s123", before[i]);
		TRAIL(want);
		no_keys();
		three_keys(exit_in_it, panic_in_it, exit_in_it);
		run_one(ends[i]);
		snprintf(want, sizeof(want), "%sxdprxd", before[i]);
		TRAIL(want);
		no_keys();
		three_keys(scoped_panic, exit_in_it, note_char);
		run_one(ends[i]);
		snprintf(want, sizeof(want), "%sqrxd3", before[i]);
		TRAIL(want);
		no_keys();
		three_keys(note_char, note_char, scoped_panic);
		run_one(ends[i]);
		snprintf(want, sizeof(want), "%s12qr", before[i]);
		TRAIL(want);
		no_keys();
	}
}

/* they run however the fiber ends, and however one of them ends */
TEST(ends)
{
	RUN(ends_main, NULL);
	RUN(ends_main, &all);
	EXPECT_NO_LEAK();
}

static void locked(void *arg)
{
	gs_lock_thread();
	sets_all(NULL);
}

static void locked_main(void *arg)
{
	three_keys(exit_in_it, panic_in_it, note_waiting);
	CHECK_EQ(gs_go(locked, NULL), 0);
	UNTIL(gs_num_fibers() == 1);
	TRAIL("xdpr()3");
	no_keys();
}

/* the same in a fiber of gs_go, whose end nobody waits for, and which ends its thread */
TEST(locked_to_a_thread)
{
	RUN(locked_main, NULL);
}

/* gs_run returns when the destructors of its fiber have run, one that ends itself as well */
TEST(run_waits)
{
	three_keys(note_waiting, exit_in_it, note_char);
	RUN(sets_all, NULL);
	TRAIL("()1xd3");
	restart();
	RUN(panics, NULL);
	TRAIL("r()1xd3");
	EXPECT_EQ(0, ut_failed);
}

static long late; /* atomic: destructors that have run */

static void slow_destructor(void *value)
{
	for (int i = 0; i < 3; i++)
		gs_yield();
	gs_sleep(1000);
	ADD(late, 1);
	if ((long)value % 4 == 0)
		gs_exit();
}

static void slow_fiber(void *arg)
{
	CHECK_EQ(gs_local_set(first, arg), 0);
	CHECK_EQ(gs_local_set(second, arg), 0);
	if ((long)arg % 3 == 0)
		gs_exit();
	if ((long)arg % 3 == 1) {
		gs_defer(recover, NULL);
		gs_panic("recovered");
	}
}

static int slow_task(void *arg)
{
	slow_fiber(arg);
	return 0;
}

static void waits_main(void *arg)
{
	static gs_errgroup group;

	at = LOG;
	CHECK_EQ(gs_local_create(&first, slow_destructor), 0);
	CHECK_EQ(gs_local_create(&second, slow_destructor), 0);
	gs_errgroup_set_limit(&group, 10);
	for (int round = 0; round < 5; round++) {
		for (long i = 1; i <= 30; i++)
			CHECK_EQ(gs_wg_go(&all, slow_fiber, (void *)i), 0);
		gs_wg_wait(&all);
		CHECK_EQ(LOAD(late), 60 + round * 120);
		for (long i = 1; i <= 30; i++)
			gs_errgroup_go(&group, slow_task, (void *)i);
		CHECK_EQ(gs_errgroup_wait(&group), 0);
		CHECK_EQ(LOAD(late), 120 + round * 120);
	}
}

/* who waits for a group of fibers waits for their destructors */
TEST(groups_wait)
{
	RUN(waits_main, NULL);
}

static void says(void *value)
{
	if (write(2, "destructor\n", 11) < 0)
		abort();
}

static void set_and_panic(void *arg)
{
	gs_local_set(first, &all);
	gs_panic("not recovered");
}

static void set_and_exit_process(void *arg)
{
	gs_local_set(first, &all);
	exit(3);
}

static void in_group(void *fn)
{
	gs_wg_go(&all, fn, NULL);
	gs_sleep(60 * SEC);
}

static void dying(void *fn)
{
	gs_local_create(&first, says);
	gs_run(in_group, fn);
}

/* a process that ends calls none */
TEST(process_ends)
{
	struct ut_child *c = ut_child_run(dying, set_and_panic, 20 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: not recovered");
	EXPECT_SAYS_NOT(c, "destructor");
	free(c);
	c = ut_child_run(dying, set_and_exit_process, 20 * SEC);
	EXPECT_EQ(3, c->status);
	EXPECT_SAYS_NOT(c, "destructor");
	free(c);
}

static void panic_at_end(void *value)
{
	gs_panic("of a destructor's");
}

static void dying_destructor(void *arg)
{
	gs_local_create(&first, panic_at_end);
	gs_run(slow_fiber, (void *)2);
}

/* a panic in one that nobody recovers is a panic */
TEST(destructor_panics)
{
	struct ut_child *c = ut_child_run(dying_destructor, NULL, 20 * SEC);

	EXPECT_EQ(2, c->status);
	EXPECT_SAYS(c, "panic: of a destructor's");
	EXPECT_SAYS(c, "[running]:");
	free(c);
}

/* ------------------------------------------------------------------------- */
/* Keys                                                                        */

static void forgotten(void *value)
{
	CHECK(false);
}

static void deleted_fiber(void *arg)
{
	gs_local old = first;

	CHECK_EQ(gs_local_set(first, &all), 0);
	CHECK_EQ(gs_local_get(first), &all);
	gs_local_delete(first);
	CHECK_EQ(gs_local_get(old), NULL);
	CHECK_EQ(gs_local_set(old, &all), -EINVAL);
	CHECK_EQ(gs_local_create(&first, forgotten), 0);
	/* the same place */
	CHECK_EQ(first.index, old.index);
	CHECK_EQ(gs_local_get(first), NULL);
	gs_local_delete(old);
	CHECK_EQ(gs_local_set(old, &all), -EINVAL);
	CHECK_EQ(gs_local_set(first, NULL), 0);
	CHECK_EQ(gs_local_get(old), NULL);
}

static void *deleted_thread(void *arg)
{
	deleted_fiber(NULL);
	return NULL;
}

static void deleted_main(void *arg)
{
	pthread_t t;

	CHECK_EQ(gs_local_create(&first, forgotten), 0);
	run_one(deleted_fiber);
	run_one(deleted_fiber);
	deleted_fiber(NULL);
	CHECK_EQ(pthread_create(&t, NULL, deleted_thread, NULL), 0);
	pthread_join(t, NULL);
	gs_local_delete(first);
}

/* a key that was deleted is none; what uses its place shows none of its values */
TEST(deleted)
{
	RUN(deleted_main, NULL);
}

static void try_key(gs_local key, int r)
{
	CHECK_EQ(gs_local_get(key), NULL);
	CHECK_EQ(gs_local_set(key, &all), r);
	CHECK_EQ(gs_local_get(key), r ? NULL : &all);
	gs_local_delete(key);
	CHECK_EQ(gs_local_get(key), NULL);
}

static void errors_main(void *arg)
{
	static gs_local none;
	gs_local bad, many[GS_LOCAL_KEYS_MAX];
	int n;

	ut_set_errno(77);
	CHECK_EQ(gs_local_create(NULL, NULL), -EINVAL);
	try_key(none, -EINVAL);
	CHECK_EQ(gs_local_set(none, NULL), -EINVAL);
	bad = (gs_local){.index = GS_LOCAL_KEYS_MAX, .serial = 1};
	try_key(bad, -EINVAL);
	bad = (gs_local){.index = UINT32_MAX, .serial = UINT32_MAX};
	try_key(bad, -EINVAL);
	for (n = 0; n < GS_LOCAL_KEYS_MAX; n++) {
		if (gs_local_create(&many[n], forgotten))
			break;
		CHECK_EQ(gs_local_set(many[n], &many[n]), 0);
	}
	CHECK_EQ(n, GS_LOCAL_KEYS_MAX);
	bad = none;
	CHECK_EQ(gs_local_create(&bad, NULL), -EAGAIN);
	CHECK_EQ(bad.serial, 0u);
	for (int i = 0; i < n; i++)
		CHECK_EQ(gs_local_get(many[i]), &many[i]);
	bad = many[500];
	bad.serial += 2;
	CHECK_EQ(gs_local_set(bad, &all), -EINVAL);
	CHECK_EQ(gs_local_get(bad), NULL);
	gs_local_delete(many[n / 2]);
	for (int i = 0; i < n; i++) {
		CHECK_EQ(gs_local_set(many[i], NULL), i == n / 2 ? -EINVAL : 0);
		gs_local_delete(many[i]);
	}
	CHECK_EQ(gs_local_create(&bad, NULL), 0);
	try_key(bad, 0);
	CHECK_EQ(ut_errno(), 77);
}

/* what is not a key; how many there may be; errno is left alone */
TEST(errors)
{
	errors_main(NULL);
	EXPECT_EQ(0, ut_failed);
	RUN(errors_main, NULL);
}

static void maker(void *arg)
{
	long n = ut_count(2000, 100);

	for (long i = 0; i < n; i++) {
		gs_local mine[3];

		for (int k = 0; k < 3; k++) {
			CHECK_EQ(gs_local_create(&mine[k], k ? forgotten : NULL), 0);
			CHECK_EQ(gs_local_get(mine[k]), NULL);
			CHECK_EQ(gs_local_set(mine[k], &mine[k]), 0);
		}
		gs_yield();
		for (int k = 0; k < 3; k++) {
			CHECK_EQ(gs_local_get(mine[k]), &mine[k]);
			gs_local_delete(mine[k]);
		}
	}
}

static void *maker_thread(void *arg)
{
	maker(arg);
	return NULL;
}

static void makers_main(void *arg)
{
	pthread_t t[2];

	for (int i = 0; i < 6; i++)
		CHECK_EQ(gs_wg_go(&all, maker, NULL), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, maker_thread, NULL), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	gs_wg_wait(&all);
}

/* fibers and threads make and delete keys at the same time: nobody gets another's */
TEST(made_at_once)
{
	RUN(makers_main, NULL);
}

/* ------------------------------------------------------------------------- */
/* Storage of its own; fork; memory                                            */

static pthread_key_t thread_key;

static void key_gone(void *value)
{
	note('k');
	if (value == &all)
		CHECK_EQ(gs_local_set(first, "a"), 0);
}

static void value_gone(void *value)
{
	note(*(char *)value);
	pthread_setspecific(thread_key, *(char *)value == '1' ? (void *)&all : (void *)&thread_key);
}

static void own_fiber(void *arg)
{
	CHECK_EQ(pthread_getspecific(thread_key), NULL);
	CHECK_EQ(gs_local_get(first), NULL);
	CHECK_EQ(gs_local_set(first, "1"), 0);
}

static void own_main(void *arg)
{
	static const struct gs_attr own = {.flags = GS_OWN_TLS};
	int r;

	CHECK_EQ(gs_local_create(&first, value_gone), 0);
	CHECK_EQ(pthread_key_create(&thread_key, key_gone), 0);
	/* the next one finds the same storage, as new */
	for (int i = 0; i < 3; i++) {
		restart();
		r = gs_go_attr(&own, own_fiber, NULL);
		*(bool *)arg = r == -EOPNOTSUPP;
		if (*(bool *)arg)
			return;
		CHECK_EQ(r, 0);
		UNTIL(gs_num_fibers() == 1);
		TRAIL("1kak");
	}
}

/* destructors of both kinds, each of which gives values to the other */
TEST(own_storage)
{
	bool none = false;

	RUN(own_main, &none);
	if (none)
		SKIP(return, "fibers have no storage of their own here");
}

static void fork_main(void *arg)
{
	int status;
	pid_t pid;

	CHECK_EQ(gs_local_create(&first, says), 0);
	CHECK_EQ(gs_local_create(&second, NULL), 0);
	CHECK_EQ(gs_local_set(first, &all), 0);
	pid = fork();
	if (pid == 0) {
		if (gs_local_get(first) != &all || gs_local_get(second) ||
		    gs_local_set(second, &status) || gs_local_get(second) != &status)
			_exit(1);
		/* and its own child */
		pid = fork();
		if (pid == 0)
			_exit(gs_local_get(first) != &all || gs_local_get(second) != &status);
		if (waitpid(pid, &status, 0) != pid || status)
			_exit(2);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(gs_local_get(first), &all);
	CHECK_EQ(gs_local_get(second), NULL);
	CHECK_EQ(gs_local_set(first, NULL), 0);
}

/* the child of a fork has the values of who called it */
TEST(forked)
{
	RUN(fork_main, NULL);
	fork_main(NULL);
	EXPECT_EQ(0, ut_failed);
}

#if !defined(UT_ASAN) && !defined(UT_TSAN)
static void memory_main(void *arg)
{
	size_t before = 0;

	make_keys();
	for (int round = 0; round < 5; round++) {
		for (long i = 0; i < 5000; i++) {
			CHECK_EQ(gs_wg_go(&all, own_values, (void *)i), 0);
			if (i % 100 == 99)
				gs_wg_wait(&all);
		}
		gs_wg_wait(&all);
		UNTIL(gs_num_fibers() == 1);
		if (!round)
			before = mallinfo2().uordblks;
	}
	/* a table for each would be 1,000,000 and more */
	CHECK_LT(mallinfo2().uordblks, before + 200000);
	delete_keys();
}

/* a fiber's table goes with it */
TEST(memory)
{
	RUN(memory_main, NULL);
}
#endif

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Boost.Fiber: peer-boost QUESTION COUNT [PARAMETER]..., the questions of bench/ that have
 * an answer there. On one thread: its fibers move between threads only with a scheduler
 * that has to be chosen and joined by hand on each, so there is no second proc here.
 */
#include <boost/fiber/all.hpp>
#include <boost/fiber/pooled_fixedsize_stack.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace fibers = boost::fibers;

static int64_t now()
{
	timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void check(bool ok, const char *what)
{
	if (!ok) {
		std::fprintf(stderr, "%s\n", what);
		std::_Exit(1);
	}
}

static int64_t yield(long n)
{
	const int count = 4;
	long each = n / count, done = 0;
	int64_t begin = now();
	std::vector<fibers::fiber> all;

	for (int i = 0; i < count; i++)
		all.emplace_back([&] {
			for (long k = 0; k < each; k++, done++)
				boost::this_fiber::yield();
		});
	for (auto &f : all)
		f.join();
	check(done == each * count, "yield: count");
	return now() - begin;
}

template <typename Channel> static int64_t channel(Channel &c, long n, int count)
{
	long each = n / count, sum = 0;
	int64_t begin = now();
	std::vector<fibers::fiber> from, to;

	for (int i = 0; i < count; i++) {
		to.emplace_back([&] {
			long v;
			while (c.pop(v) == fibers::channel_op_status::success)
				sum += v;
		});
		from.emplace_back([&] {
			for (long v = 1; v <= each; v++)
				c.push(v);
		});
	}
	for (auto &f : from)
		f.join();
	c.close();
	for (auto &f : to)
		f.join();
	check(sum == each * (each + 1) / 2 * count, "channel: sum");
	return now() - begin;
}

/* its buffered channel wants a power of two, of which it uses all but one */
static int64_t channel_of(long cap, long n, int count)
{
	if (cap) {
		fibers::buffered_channel<long> c(static_cast<std::size_t>(cap));
		return channel(c, n, count);
	}
	fibers::unbuffered_channel<long> c;
	return channel(c, n, count);
}

static int64_t spawn(long n)
{
	const int batch = 64;
	fibers::pooled_fixedsize_stack stacks; /* as ours are used again */
	long ran = 0;
	int64_t begin = now();

	for (long i = 0; i < n / batch; i++) {
		fibers::fiber all[batch];
		for (auto &f : all)
			f = fibers::fiber(std::allocator_arg, stacks, [&] { ran++; });
		for (auto &f : all)
			f.join();
	}
	check(ran == n / batch * batch, "spawn: count");
	return now() - begin;
}

static int64_t locking(long n, int count)
{
	long each = n / count, counter = 0;
	fibers::mutex mutex;
	int64_t begin = now();
	std::vector<fibers::fiber> all;

	for (int i = 0; i < count; i++)
		all.emplace_back([&] {
			for (long k = 0; k < each; k++) {
				mutex.lock();
				counter++;
				mutex.unlock();
			}
		});
	for (auto &f : all)
		f.join();
	check(counter == each * count, "mutex: counter");
	return now() - begin;
}

int main(int argc, char **argv)
{
	std::string what = argc > 2 ? argv[1] : "";
	long n = argc > 2 ? std::atol(argv[2]) : 0, arg = argc > 3 ? std::atol(argv[3]) : 0;
	int64_t (*answer)(long n, long arg) = nullptr;

	if (what == "yield")
		answer = [](long n, long) { return yield(n); };
	else if (what == "chan_spsc")
		answer = [](long n, long arg) { return channel_of(arg, n, 1); };
	else if (what == "chan_mpmc")
		answer = [](long n, long arg) { return channel_of(arg, n, 8); };
	else if (what == "spawn")
		answer = [](long n, long) { return spawn(n); };
	else if (what == "mutex")
		answer = [](long n, long arg) { return locking(n, static_cast<int>(arg)); };
	if (!answer || n < 1) {
		std::fprintf(stderr, "peer-boost has no %s\n", what.c_str());
		return 2;
	}
	answer(n / 10, arg);
	std::printf("time\tns\tlower\t%.6g\n",
		    static_cast<double>(answer(n, arg)) / static_cast<double>(n));
	return 0;
}

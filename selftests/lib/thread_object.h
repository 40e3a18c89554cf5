/* SPDX-License-Identifier: GPL-2.0 */
/* C++17: an object of each thread, or of each fiber with storage of its own, and how many are. */
#ifndef LIB_THREAD_OBJECT_H
#define LIB_THREAD_OBJECT_H

#include <string>

struct thread_object {
	std::string text = "a text that does not fit into the object itself: 0";
	long value = 0;

	static inline long alive; /* atomic */

	thread_object()
	{
		__atomic_add_fetch(&alive, 1, __ATOMIC_SEQ_CST);
	}
	~thread_object()
	{
		__atomic_sub_fetch(&alive, 1, __ATOMIC_SEQ_CST);
	}
	void set(long v)
	{
		value = v;
		text.back() = static_cast<char>('0' + v % 10);
	}
	/* -1: the two parts do not belong together */
	long get() const
	{
		return text.back() == static_cast<char>('0' + value % 10) ? value : -1;
	}
	static long objects()
	{
		return __atomic_load_n(&alive, __ATOMIC_SEQ_CST);
	}
};

#endif /* LIB_THREAD_OBJECT_H */

/* SPDX-License-Identifier: GPL-2.0 */
/* What the snippets of good.c and of the table "bad" stand on. C11 and C++17. */
#include <gsched.h>

struct pair {
	int a, b;
};
struct other {
	int a, b;
};
union either {
	int a;
	double d;
};
enum color { RED, GREEN };
struct bits {
	unsigned f : 3;
};

/* a channel of its own kind, while the struct is not yet complete */
struct node {
	gs_chan_of(struct node) next;
	gs_chan_of(gs_chan_of(struct node)) replies;
	gs_send_only(int) out;
};

/* the same types again: they are structural */
extern gs_chan_of(int) ints;
extern gs_chan_of(int) ints;
extern gs_chan_of(long) longs;
extern gs_chan_of(double) doubles;
extern gs_chan_of(bool) bools;
extern gs_chan_of(unsigned char) bytes;
extern gs_chan_of(enum color) colors;
extern gs_chan_of(struct pair) pairs;
extern gs_chan_of(union either) eithers;
extern gs_chan_of(const char *) texts;
extern gs_chan_of(char *) buffers;
extern gs_chan_of(void *) anys;
extern gs_chan_of(int *) pointers;
extern gs_chan_of(int (*)(void)) functions;
extern gs_chan_of(gs_chan_of(int)) channels;
extern gs_chan_of(gs_recv_only(int)) ends;
extern gs_send_only(int) in;
extern gs_recv_only(int) out;
extern gs_chan *plain;
extern gs_chan_of(int) table[4];
extern struct pair pr;
extern struct other ot;
extern const struct pair cpr;
extern union either ei;
extern struct bits bi;
extern int x, n, array[4], *xp;
extern long l;
extern const int k;
extern volatile int vol;
extern double d;
extern bool ok;
extern char text[4];
extern const char *ctext;
extern void *any;
extern const void *cany;

#ifdef __cplusplus
extern "C" {
#endif
int give(void);
void makes(void *arg);
gs_recv_only(int64_t) ticks(int64_t ns);
gs_recv_only(int64_t) ticks(int64_t ns);
gs_chan_of(const char *) lines(gs_send_only(int *) a, gs_chan_of(int) b);
#ifdef __cplusplus
}
#endif

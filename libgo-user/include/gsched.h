/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libgo-user: goroutine-style fibers for C. This header is everything. */
#ifndef GSCHED_H
#define GSCHED_H

#include <gsched/chan.h>
#include <gsched/context.h>
#include <gsched/debug.h>
#include <gsched/io.h>
#include <gsched/local.h>
#include <gsched/net.h>
#include <gsched/process.h>
#include <gsched/runtime.h>
#include <gsched/select.h>
#include <gsched/signal.h>
#include <gsched/sync.h>
#include <gsched/time.h>
#include <gsched/typed.h>

#endif /* GSCHED_H */

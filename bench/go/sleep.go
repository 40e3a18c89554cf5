// SPDX-License-Identifier: GPL-2.0

package main

import "time"

func init() {
	answers["sleep"] = func(n int) {
		ns := int64(arg(0, 50)) * 1000
		took := make([]int64, n)
		for i := range took {
			begin := now()
			time.Sleep(time.Duration(ns))
			took[i] = now() - begin
			check(took[i] >= ns, "sleep: too short")
		}
		percentiles(took)
	}
}

// SPDX-License-Identifier: GPL-2.0
module gsched/bench

go 1.23

// SPDX-License-Identifier: GPL-2.0

package main

func nthPrime(n int) int {
	for v := 2; ; v++ {
		d := 2
		for d*d <= v && v%d != 0 {
			d++
		}
		if d*d > v {
			if n--; n == 0 {
				return v
			}
		}
	}
}

func init() {
	generate := func(c chan<- int32) {
		for i := int32(2); ; i++ {
			c <- i
		}
	}
	filter := func(in <-chan int32, out chan<- int32, prime int32) {
		for {
			if v := <-in; v%prime != 0 {
				out <- v
			}
		}
	}
	answers["sieve"] = func(n int) {
		begin := now()
		c := make(chan int32)
		prime := int32(0)
		go generate(c)
		for i := 0; i < n; i++ {
			prime = <-c
			next := make(chan int32)
			go filter(c, next, prime)
			c = next
		}
		begin = now() - begin
		check(int(prime) == nthPrime(n), "sieve: the prime")
		inMs(begin)
	}
}

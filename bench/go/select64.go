// SPDX-License-Identifier: GPL-2.0

package main

import "sync"

const ways64 = 64

// A select statement, not reflect.Select, which takes several times as long.
func select64(c *[ways64]chan int) (v, k int) {
	select {
	case v = <-c[0]:
		k = 0
	case v = <-c[1]:
		k = 1
	case v = <-c[2]:
		k = 2
	case v = <-c[3]:
		k = 3
	case v = <-c[4]:
		k = 4
	case v = <-c[5]:
		k = 5
	case v = <-c[6]:
		k = 6
	case v = <-c[7]:
		k = 7
	case v = <-c[8]:
		k = 8
	case v = <-c[9]:
		k = 9
	case v = <-c[10]:
		k = 10
	case v = <-c[11]:
		k = 11
	case v = <-c[12]:
		k = 12
	case v = <-c[13]:
		k = 13
	case v = <-c[14]:
		k = 14
	case v = <-c[15]:
		k = 15
	case v = <-c[16]:
		k = 16
	case v = <-c[17]:
		k = 17
	case v = <-c[18]:
		k = 18
	case v = <-c[19]:
		k = 19
	case v = <-c[20]:
		k = 20
	case v = <-c[21]:
		k = 21
	case v = <-c[22]:
		k = 22
	case v = <-c[23]:
		k = 23
	case v = <-c[24]:
		k = 24
	case v = <-c[25]:
		k = 25
	case v = <-c[26]:
		k = 26
	case v = <-c[27]:
		k = 27
	case v = <-c[28]:
		k = 28
	case v = <-c[29]:
		k = 29
	case v = <-c[30]:
		k = 30
	case v = <-c[31]:
		k = 31
	case v = <-c[32]:
		k = 32
	case v = <-c[33]:
		k = 33
	case v = <-c[34]:
		k = 34
	case v = <-c[35]:
		k = 35
	case v = <-c[36]:
		k = 36
	case v = <-c[37]:
		k = 37
	case v = <-c[38]:
		k = 38
	case v = <-c[39]:
		k = 39
	case v = <-c[40]:
		k = 40
	case v = <-c[41]:
		k = 41
	case v = <-c[42]:
		k = 42
	case v = <-c[43]:
		k = 43
	case v = <-c[44]:
		k = 44
	case v = <-c[45]:
		k = 45
	case v = <-c[46]:
		k = 46
	case v = <-c[47]:
		k = 47
	case v = <-c[48]:
		k = 48
	case v = <-c[49]:
		k = 49
	case v = <-c[50]:
		k = 50
	case v = <-c[51]:
		k = 51
	case v = <-c[52]:
		k = 52
	case v = <-c[53]:
		k = 53
	case v = <-c[54]:
		k = 54
	case v = <-c[55]:
		k = 55
	case v = <-c[56]:
		k = 56
	case v = <-c[57]:
		k = 57
	case v = <-c[58]:
		k = 58
	case v = <-c[59]:
		k = 59
	case v = <-c[60]:
		k = 60
	case v = <-c[61]:
		k = 61
	case v = <-c[62]:
		k = 62
	case v = <-c[63]:
		k = 63
	}
	return
}

func init() {
	var chans [ways64]chan int
	round := func(n int) int64 {
		begin, bad := now(), 0
		var next [ways64]int
		var done sync.WaitGroup
		done.Add(ways64)
		for _, c := range chans {
			go func() {
				for i := 0; i < n/ways64; i++ {
					c <- i
				}
				done.Done()
			}()
		}
		for i := 0; i < n/ways64*ways64; i++ {
			v, k := select64(&chans)
			if v != next[k] {
				bad++
			}
			next[k]++
		}
		done.Wait()
		begin = now() - begin
		check(bad == 0, "select64: values")
		for _, got := range next {
			check(got == n/ways64, "select64: counts")
		}
		return begin
	}
	answers["select64"] = func(n int) {
		for i := range chans {
			chans[i] = make(chan int)
		}
		round(n / 10)
		perOp(round(n), n)
	}
}

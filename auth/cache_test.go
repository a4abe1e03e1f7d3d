package auth

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func textOf(t testing.TB, labels string) []byte {
	t.Helper()
	rec := record{matched: '0', revision: 1800000000000, labels: []byte(labels)}
	rec.secrets[0] = storedSecret{since: 1800000000000, form: []byte(plainForm + newer)}
	return rec.append(nil)
}

func putCached(c *cache, id DeviceID, text []byte) { c.put(id, text, c.generation(id)) }

func cached(c *cache, id DeviceID) bool {
	_, ok := c.get(id, nil)
	return ok
}

func stats(c *cache) (st Stats) { c.addStats(&st); return st }

func TestCache(t *testing.T) {
	c := newCache(0)
	for _, id := range []DeviceID{imei, uuid} {
		text := textOf(t, "floor=2")
		if cached(c, id) {
			t.Fatalf("%s is in an empty cache", id)
		}
		putCached(c, id, text)
		got, ok := c.get(id, []byte("before "))
		if !ok || string(got) != "before "+string(text) {
			t.Fatalf("get %s = %q, %v", id, got, ok)
		}
		putCached(c, id, textOf(t, ""))
		if got, _ := c.get(id, nil); !bytes.Equal(got, textOf(t, "")) {
			t.Errorf("get %s replaced = %q", id, got)
		}
	}
	c.setMatched(imei, 1, '2') // another revision's
	if got, _ := c.get(imei, nil); got[0] != '0' {
		t.Errorf("matched = %c", got[0])
	}
	c.setMatched(imei, 1800000000000, '2')
	if got, _ := c.get(imei, nil); got[0] != '2' {
		t.Errorf("matched = %c", got[0])
	}
	c.invalidate(imei)
	if cached(c, imei) || !cached(c, uuid) {
		t.Error("invalidate forgot too little or too much")
	}
	c.drop()
	if cached(c, uuid) || stats(c).Entries != 0 {
		t.Error("drop left something")
	}
	putCached(c, uuid, textOf(t, ""))
	if !cached(c, uuid) {
		t.Error("nothing is kept after drop")
	}
}

func TestCacheRefusesWhatWasReadBeforeAChange(t *testing.T) {
	c := newCache(0)
	for name, change := range map[string]func(){
		"invalidate": func() { c.invalidate(imei) },
		"drop":       c.drop,
	} {
		generation := c.generation(imei)
		change()
		c.put(imei, textOf(t, ""), generation)
		if cached(c, imei) {
			t.Errorf("%s: cached what was read before it", name)
		}
	}
}

func TestCacheLeavesOut(t *testing.T) {
	c := newCache(0)
	putCached(c, imei, textOf(t, "l="+strings.Repeat("x", chunkSize)))
	putCached(c, "IMEI:*", textOf(t, ""))
	putCached(c, "DVNUUID:0F8FAD5B-D9CB-469F-A165-70867728950E", textOf(t, "")) // not its canonical spelling
	if n := stats(c).Entries; n != 0 {
		t.Errorf("%d entries", n)
	}
}

// A typical device costs at most 100 bytes, the process's memory included, and the bound holds.
func TestCacheIsBounded(t *testing.T) {
	const bound = 8 << 20
	var before, after runtime.MemStats
	text := textOf(t, "")
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := newCache(bound)
	for i := range 300000 {
		putCached(c, benchID(i), text)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	st := stats(c)
	heap := float64(after.HeapAlloc - before.HeapAlloc)
	if st.Bytes > bound+bound/20 || heap > bound*1.1 {
		t.Errorf("%d bytes by its own count, %.0f of heap, bound %d", st.Bytes, heap, bound)
	}
	if per := heap / float64(st.Entries); per > 100 {
		t.Errorf("%.1f bytes for each of %d devices", per, st.Entries)
	}
	// A few share 32 bits of their hash with another one and displace it.
	if n := st.Entries + int64(st.Evictions); st.Evictions == 0 || n > 300000 || n < 299900 {
		t.Errorf("%d entries and %d evictions of 300000", st.Entries, st.Evictions)
	}
	runtime.KeepAlive(c)
}

// A pass over many devices that are asked for once leaves the busy ones where they are.
func TestCacheKeepsTheBusy(t *testing.T) {
	c := newCache(1 << 20)
	text := textOf(t, "")
	const busy = 500
	for i := range busy {
		putCached(c, benchID(i), text)
	}
	for pass := range 100 {
		for i := range busy {
			if !cached(c, benchID(i)) {
				t.Fatalf("device %d is gone in pass %d", i, pass)
			}
		}
		for i := range 2000 {
			putCached(c, benchID(1000+pass*2000+i), text)
		}
	}
}

// Devices whose hashes are alike displace each other, and are never taken for each other.
func TestCacheTellsDevicesApart(t *testing.T) {
	c := newCache(minCacheBytes)
	for i := range 2000 {
		putCached(c, benchID(i), fmt.Appendf(nil, "%s", benchID(i)))
	}
	a, _ := c.slot(imei)
	b, _ := c.slot(other)
	b.hash = a.hash
	putCached(c, imei, []byte(imei))
	b.shard.add(c, &b, []byte(other))
	if cached(c, imei) {
		t.Error("a displaced device is still found")
	}
	for i := range 2000 {
		if got, ok := c.get(benchID(i), nil); ok && string(got) != string(benchID(i)) {
			t.Fatalf("device %d is taken for %s", i, got)
		}
	}
}

func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		want := map[uint32]uint32{}
		// Few hashes, close together at both ends, so that they get in each other's way and around the table's end.
		hash := rapid.Custom(func(t *rapid.T) uint32 { return rapid.Uint32Range(0, 40).Draw(t, "hash") - 20 })
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				h, p := hash.Draw(t, "h"), rapid.Uint32Max(1<<31).Draw(t, "p")
				x.set(h, p)
				want[h] = p
			},
			"remove": func(t *rapid.T) { h := hash.Draw(t, "h"); x.remove(h); delete(want, h) },
			"clear":  func(*rapid.T) { x.clear(); clear(want) },
			"": func(t *rapid.T) {
				if x.n != len(want) {
					t.Fatalf("%d entries, want %d", x.n, len(want))
				}
				for h := uint32(0); h <= 40; h++ {
					p, ok := x.get(h - 20)
					if wanted, there := want[h-20]; ok != there || ok && p != wanted {
						t.Fatalf("get %d = %d, %v; want %d, %v", h-20, p, ok, wanted, there)
					}
				}
			},
		})
	})
}

func TestRecord(t *testing.T) {
	for _, rec := range []record{
		{exists: true, matched: '0', revision: 1, flags: flagUnsigned},
		{exists: true, matched: '2', revision: 1800000000000, flags: flagDisabled | flagRequireToken, secrets: [2]storedSecret{
			{since: 5, form: []byte("p1:" + secret)}, {since: 4, form: []byte("e1:AAAA")},
		}, labels: []byte("a=b\tc=d=e")},
	} {
		text := rec.append(nil)
		got, err := parseRecord(text)
		if err != nil || string(got.append(nil)) != string(text) || got.flags != rec.flags || got.revision != rec.revision {
			t.Errorf("parse %q = %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "0\t", "0\t\t1", "3\t\t1\t\t", "0\tx\t1\t\t", "0\t\t-1\t\t", "0\t\tA\t\t", "0\t\t1\t:p1:x\t", "0\t\t1\t1:\t"} {
		if rec, err := parseRecord([]byte(text)); err == nil {
			t.Errorf("parse %q = %+v", text, rec)
		}
	}
	rec := record{labels: joinLabels(map[string]string{"b": "2=3", "a": "", "c": "1"})}
	if string(rec.labels) != "a=\tb=2=3\tc=1" || rec.labelMap()["b"] != "2=3" || !rec.hasLabel("a", "") || rec.hasLabel("b", "2") {
		t.Errorf("labels = %q", rec.labels)
	}
}

// Every record that can be built is read back as it was.
func FuzzRecordBuilt(f *testing.F) {
	f.Add(int64(1800000000000), int64(5), int64(0), int64(4738381338321616896), uint8(0), true) // of 13 digits in base 36
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), uint8(6), true)
	f.Add(int64(0), int64(0), int64(1), int64(0), uint8(1), false)
	f.Fuzz(func(t *testing.T, revision, since, until, after int64, flag uint8, two bool) {
		if min(revision, since, until, after) < 0 {
			return
		}
		rec := record{exists: true, matched: '0', flags: flags(flag) & (1<<len(flagLetters) - 1), revision: revision, labels: []byte("a=b")}
		rec.secrets[0] = storedSecret{since: since, form: []byte("p1:" + newer)}
		if two {
			rec.secrets[1] = storedSecret{since: since, until: until, after: after, form: []byte("p1:" + secret)}
		}
		if got, err := parseRecord(rec.append(nil)); err != nil || !reflect.DeepEqual(got, rec) {
			t.Fatalf("%q reads as %+v, %v", rec.append(nil), got, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("0\tdut\t1a\t1:p1:x\t1:e1:y\ta=b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		rec, err := parseRecord(text)
		if err != nil {
			return
		}
		again, err := parseRecord(rec.append(nil))
		if err != nil || string(again.append(nil)) != string(rec.append(nil)) {
			t.Fatalf("%q reads as %q", text, rec.append(nil))
		}
		_ = rec.labelMap()
	})
}

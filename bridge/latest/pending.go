package latest

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"m2mbridge/auth"
	"m2mbridge/bridge/stream"
	"m2mbridge/senml"
)

// value is what one record said.
type value struct {
	us   int64 // Unix µs
	id   stream.ID
	kind senml.Kind
	cut  bool
	unit string
	text string // a number as it was written, true or false, or the text itself
	sum  string // a number, "" for none
}

// later tells whether v takes the place of was: in one pack the later record does.
func (v *value) later(was *value) bool {
	return cmp.Or(cmp.Compare(v.us, was.us), v.id.Compare(was.id)) >= 0
}

// device is what is to be written of one device.
type device struct {
	base   string // its base name
	oldest int64  // receipt of its first uplink here, Unix ms
	values map[string]*value
}

// What a device and a value take in memory beside their texts, about.
const (
	deviceSize = 256
	valueSize  = 208
)

// names reads packs into devices. It is not for several goroutines.
type names struct {
	pack senml.Pack
	body []byte
}

// take merges an uplink into d and tells by how much that has grown. What is no
// pack says nothing.
func (n *names) take(d *device, e *stream.Entry) (grown int) {
	n.body = append(n.body[:0], e.Fields.Text("pack")...)
	at := e.At()
	if n.pack.Decode(n.body, senml.Options{}) != nil || n.pack.Resolve(at) != nil {
		return 0
	}
	now, i := float64(at.UnixMilli())/1000, 0
	for m := range n.pack.Resolved() {
		for !n.pack.Records[i].Measures() {
			i++
		}
		v := value{us: int64(math.Round(max(min(m.Time, now), 0) * 1e6)), id: e.ID}
		v.read(&m, &n.pack.Records[i])
		grown += d.put(cmp.Or(strings.TrimPrefix(m.Name, d.base), m.Name), v)
		i++
	}
	if len(d.values) > 2*MaxNames {
		grown -= d.trim()
	}
	return grown
}

// read takes over what a record says: m with the base fields, r in the text of
// its numbers.
func (v *value) read(m *senml.Resolved, r *senml.Record) {
	v.kind, v.unit, v.text = m.Kind, m.Unit, m.Text
	if len(v.unit) > maxUnit {
		v.unit = cut(v.unit, maxUnit)
	}
	switch m.Kind {
	case senml.Number:
		v.text = number(m.Number, r.Value)
	case senml.Bool:
		v.text = strconv.FormatBool(m.Bool)
	case senml.String, senml.Binary:
		if v.cut = len(v.text) > MaxText; v.cut {
			v.text = cut(v.text, MaxText)
		}
	}
	if m.HasSum {
		v.sum = number(m.Sum, r.Sum)
	}
}

// number is the text that it had, unless a base value was added.
func number(n float64, as senml.Numeral) string {
	if as.Present() && as.Value == n {
		return string(as.Text)
	}
	return strconv.FormatFloat(n, 'g', -1, 64)
}

// cut is the beginning of s, whole characters of it, in memory of its own.
func cut(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}

// put takes v for a name if it is the latest.
func (d *device) put(name string, v value) (grown int) {
	if len(name) > maxName {
		return 0
	}
	was, ok := d.values[name]
	switch {
	case !ok:
		d.values[name] = &v
		return valueSize + len(name) + v.size()
	case !v.later(was):
		return 0
	}
	grown = v.size() - was.size()
	*was = v
	return grown
}

func (v *value) size() int { return len(v.unit) + len(v.text) + len(v.sum) }

// trim lets the oldest of too many names go.
func (d *device) trim() (freed int) {
	names := d.newest()
	for _, name := range names[min(MaxNames, len(names)):] {
		freed += valueSize + len(name) + d.values[name].size()
		delete(d.values, name)
	}
	return freed
}

// newest are the names, where they are too many those of the latest values first.
func (d *device) newest() []string {
	list := make([]string, 0, len(d.values))
	for name := range d.values {
		list = append(list, name)
	}
	if len(list) <= MaxNames {
		return list
	}
	slices.SortFunc(list, func(x, y string) int {
		a, b := d.values[x], d.values[y]
		return cmp.Or(cmp.Compare(b.us, a.us), b.id.Compare(a.id), strings.Compare(x, y))
	})
	return list
}

// pending is what is to be written of a partition.
type pending map[auth.DeviceID]*device

// device finds one, or makes it.
func (p pending) device(id auth.DeviceID, e *stream.Entry) (d *device, grown int) {
	if d = p[id]; d != nil {
		return d, 0
	}
	d = &device{base: id.BaseName(), oldest: e.At().UnixMilli(), values: map[string]*value{}}
	p[id] = d
	return d, deviceSize
}

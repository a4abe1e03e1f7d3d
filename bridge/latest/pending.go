package latest

import (
	"cmp"
	"slices"
	"strings"

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

// gives tells whether v gives way to a value of that time and uplink: in one
// pack it does to the later record.
func (v *value) gives(us int64, id stream.ID) bool {
	return cmp.Or(cmp.Compare(us, v.us), id.Compare(v.id)) >= 0
}

// device is what is to be written of one device.
type device struct {
	base   []byte // its base name
	oldest int64  // receipt of its first uplink here, Unix ms
	values map[string]*value
}

// What a device and a value take in memory beside their texts, about.
const (
	deviceSize = 256
	valueSize  = 208
)

// put takes what a record says of a name if it is the latest.
func (d *device) put(name []byte, us int64, id stream.ID, said *reading) (grown int) {
	was := d.values[string(name)]
	switch {
	case was == nil && len(name) > maxName:
		return 0
	case was == nil:
		was = &value{}
		d.values[string(name)] = was
		grown = valueSize + len(name)
	case !was.gives(us, id):
		return 0
	}
	grown -= was.size()
	was.us, was.id = us, id
	was.set(said)
	return grown + was.size()
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
	d = &device{base: []byte(id.BaseName()), oldest: e.At().UnixMilli(), values: map[string]*value{}}
	p[id] = d
	return d, deviceSize
}

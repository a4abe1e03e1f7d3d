// Package senml reads and writes SenML packs in JSON (RFC 8428): what devices send and what apps and devices are given.
//
// A pack goes through it in steps, each a method of Pack: Decode reads the bytes and checks every record by itself, Resolve
// applies the base fields and the time of receipt and checks what needs them, AppendNormalised writes the pack for apps.
// A pack for a device is decoded alike and written with AppendDownlink, whose form is what real devices' parsers read.
//
// The reader is strict where encoding/json is not, since each leniency is a way past a check: labels are case-sensitive and
// occur once, strings are valid UTF-8 without lone surrogates, null is no value, nothing follows the pack's last bracket.
// Numbers keep their text, so that nothing a device measured is rounded on its way.
//
// It does not know devices: whether a base name is that of a registered device, and whether the pack is that device's own,
// is decided elsewhere with Record.BaseName. It knows no clock and no network, and keeps nothing between packs but memory to
// reuse. Names and units are never checked against a list.
package senml

// Profile says whose SenML is taken.
type Profile uint8

const (
	// KPN takes what devices of KPN Things send: RFC 8428, and base64 in either alphabet, padded or not, ThingsML's i_ for a
	// name, an upper-case E in numbers, and packs without a measurement (heartbeats).
	KPN Profile = iota
	// Strict is RFC 8428 to the letter.
	Strict
)

// Options are what Decode is told. The zero value is the KPN profile with the default limits.
type Options struct {
	Profile    Profile
	MaxRecords int // of a pack; 0: 1000
	MaxDepth   int // of objects and arrays inside the value of an unknown label; 0: 16
	MaxLabels  int // unknown labels of a record with the base records melted into it, and members of an object in their values; 0: 64
}

func (o Options) withDefaults() Options {
	if o.MaxRecords == 0 {
		o.MaxRecords = 1000
	}
	if o.MaxDepth == 0 {
		o.MaxDepth = 16
	}
	if o.MaxLabels == 0 {
		o.MaxLabels = 64
	}
	return o
}

// Kind says which value a record has.
type Kind uint8

const (
	None   Kind = iota // no value: a base record, or a measurement that is a sum only
	Number             // v
	Bool               // vb
	String             // vs
	Binary             // vd
)

// Numeral is a JSON number as it was written, and its value. Text nil: the field is absent.
type Numeral struct {
	Text  []byte
	Value float64 // finite
}

// Present says whether the field is in the record.
func (n Numeral) Present() bool { return n.Text != nil }

// Label is a field that RFC 8428 does not define. It is ignored here and kept for apps.
type Label struct {
	Name []byte // unescaped
	Raw  []byte // the value's JSON as it stands in the body
}

// Record is one record of a pack. Its slices point into the body or into the pack's own memory and are valid until the next
// Decode of that pack.
type Record struct {
	// BaseName is unescaped. The caller may replace it (by the canonical spelling) or set it (in the first record of a pack
	// that has none) between Decode and Resolve.
	BaseName    []byte
	HasBaseName bool
	HasBaseUnit bool
	HasName     bool
	HasUnit     bool

	// HasIndex tells that the name came as ThingsML's i_, which is Index; Name is its name in KPN's table.
	HasIndex bool
	Index    int8
	// indexUnit tells that Unit came from KPN's table and not from the record.
	indexUnit bool

	Kind  Kind
	Bool  bool    // vb
	Text  []byte  // vs unescaped; vd in base64's URL alphabet without padding, however it was sent
	Value Numeral // v

	BaseUnit []byte
	Name     []byte
	Unit     []byte

	BaseTime, BaseValue, BaseSum, BaseVersion Numeral
	Sum, Time, UpdateTime                     Numeral

	Extra []Label // unknown labels in their order
}

// Measures says whether the record is a measurement: it has a value or a sum. Others only set base fields.
func (r *Record) Measures() bool { return r.Kind != None || r.Sum.Present() }

// hasBase says whether the record sets any base field.
func (r *Record) hasBase() bool {
	return r.HasBaseName || r.HasBaseUnit || r.BaseTime.Present() || r.BaseValue.Present() || r.BaseSum.Present() || r.BaseVersion.Present()
}

// hasRegular says whether the record has a field that belongs to a measurement, its value apart.
func (r *Record) hasRegular() bool {
	return r.HasName || r.HasUnit || r.Time.Present() || r.UpdateTime.Present()
}

// Pack is a decoded SenML pack. The zero value is ready; one Pack decodes any number of bodies, one after the other, and
// allocates nothing once it has grown to their size. It is not safe for concurrent use.
type Pack struct {
	Records []Record

	measurements int
	labels       []Label  // of all records
	scratch      []byte   // unescaped strings
	members      [][]byte // names of the members of the objects being read, for the search for repeated ones

	now    float64 // Unix seconds of the time of receipt, by Resolve
	newest float64
}

// Measurements is the number of records with a value or sum. 0: the pack is a heartbeat.
func (p *Pack) Measurements() int { return p.measurements }

func (p *Pack) reset() {
	p.Records = p.Records[:0]
	p.measurements = 0
	p.labels = p.labels[:0]
	p.scratch = p.scratch[:0]
	p.members = p.members[:0]
	p.now, p.newest = 0, 0
}

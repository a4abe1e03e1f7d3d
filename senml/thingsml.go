package senml

// thingsMLFirst is the index of the first entry of thingsML.
const thingsMLFirst = -24

// thingsML is KPN's list of common measurements: in ThingsML, KPN's extension of SenML, an index in the field i_ stands for a
// measurement's name and unit. From the table in the documentation of kpn-iot/thingsml-c-library and its enumeration
// ThingsMLMeasurementIndex; its unit "db" of sound is spelt as in RFC 8428 §12.1.
var thingsML = [...]struct{ name, unit string }{
	{"temperature", "Cel"},
	{"humidity", "%RH"},
	{"latitude", "lat"},
	{"longitude", "lon"},
	{"altitude", "m"},
	{"power", "W"},
	{"pressure", "Pa"},
	{"angle", "rad"},
	{"length", "m"},
	{"breadth", "m"},
	{"height", "m"},
	{"weight", "kg"},
	{"thickness", "m"},
	{"distance", "m"},
	{"area", "m2"},
	{"volume", "m3"},
	{"velocity", "m/s"},
	{"electricCurrent", "A"},
	{"electricPotential", "V"},
	{"electricResistance", "Ohm"},
	{"illuminance", "lx"},
	{"accelerationX", "m/s2"},
	{"accelerationY", "m/s2"},
	{"accelerationZ", "m/s2"},
	{"heading", "rad"}, // 0
	{"COConcentration", "ppm"},
	{"CO2Concentration", "ppm"},
	{"sound", "dB"},
	{"frequency", "Hz"},
	{"batteryLevel", "%EL"},
	{"batteryVoltage", "V"},
	{"radius", "m"},
	{"batteryLevelLow", "/"},
	{"compassX", "T"},
	{"compassY", "T"},
	{"compassZ", "T"},
	{"readSwitch", "/"},
	{"presence", ""},
	{"counter", ""},
}

func inThingsML(index int) bool {
	return index >= thingsMLFirst && index < thingsMLFirst+len(thingsML)
}

// expand gives a record with an i_ the name, and where it has no unit of its own the unit, that the index stands for.
func (p *Pack) expand(r *Record) {
	entry := thingsML[int(r.Index)-thingsMLFirst]
	r.Name, r.HasName = keep(p, entry.name), true
	if !r.HasUnit && entry.unit != "" {
		r.Unit, r.HasUnit, r.indexUnit = keep(p, entry.unit), true, true
	}
}

// keep copies text into the pack's scratch.
func keep[T string | []byte](p *Pack, text T) []byte {
	from := len(p.scratch)
	p.scratch = append(p.scratch, text...)
	return p.scratch[from:len(p.scratch):len(p.scratch)]
}

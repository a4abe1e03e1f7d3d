package senml

// check looks at a record as a whole, once it is read; start is its offset.
func (d *decoder) check(r *Record, start int) *Error {
	if r.HasIndex {
		if r.HasName {
			return d.failAt(start, ReasonName, "the record has both n and i_; one of them names it")
		}
		d.pack.expand(r)
	}
	switch {
	case r.Measures():
		d.pack.measurements++
		d.melting = 0
	case r.hasRegular():
		return d.failAt(start, ReasonNoValue, "the record has no value (v, vb, vs or vd) and no sum (RFC 8428 §4.2)")
	case !r.hasBase():
		return d.failAt(start, ReasonNoValue, "the record has no value, no sum and no base field (RFC 8428 §4.2)")
	default:
		d.melting += len(r.Extra)
	}
	return d.checkVersion(r)
}

// checkVersion makes sure that all records are of one version; without bver it is 10 (RFC 8428 §4.1, §4.4).
func (d *decoder) checkVersion(r *Record) *Error {
	if r.BaseVersion.Present() {
		version := int(r.BaseVersion.Value)
		if d.versionFixed && version != d.version {
			return &Error{Record: d.record, Field: "bver", Offset: -1, Reason: ReasonVersion,
				Detail: "all records have one version, which is 10 before the first bver (RFC 8428 §4.4)"}
		}
		d.version, d.versionFixed = version, true
	}
	d.versionFixed = d.versionFixed || r.Measures()
	return nil
}

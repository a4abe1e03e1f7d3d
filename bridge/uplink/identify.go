package uplink

import (
	"m2mbridge/auth"
	"m2mbridge/senml"
)

// identify finds whose uplink this claims to be: the base name of the first
// record decides, an MQTT login fills it in where it is missing, and every
// other base name of the pack must be the same device's or one below it.
// Base names leave it in canonical form.
func (s *Service) identify(u *uplink) error {
	first := &u.pack.Records[0]
	id, err := s.claimed(u, first)
	if err != nil {
		return err
	}
	u.id = id
	var own []byte // the base name in force as the device spelt it, nil for one below the device's
	for i := range u.pack.Records {
		r := &u.pack.Records[i]
		if r.HasBaseName {
			rest, ok := auth.SameDevice(id, r.BaseName)
			if !ok {
				return recordRefusal(i, "bn", "base-name", "names another device than the first record does")
			}
			if own = r.BaseName; len(rest) > 0 {
				own = nil
			}
			if i == 0 {
				u.spelling = r.BaseName[:len(r.BaseName)-len(rest)]
			}
			r.BaseName = canonical(r.BaseName, id, rest)
		}
		if auth.NameEscapes(own, r.Name) {
			return recordRefusal(i, "n", "base-name", "the base name lacks its last colon and this name starts with a digit: together they read as another device's id")
		}
	}
	return u.fits()
}

// claimed is the device the first record names.
func (s *Service) claimed(u *uplink, first *senml.Record) (auth.DeviceID, error) {
	if !first.HasBaseName {
		if u.msg.Login == "" {
			return "", recordRefusal(0, "bn", "base-name", "is missing: the first record must carry the device's base name, urn:dev:IMEI:<imei>: or urn:dev:DVNUUID:<uuid>:")
		}
		first.HasBaseName, first.BaseName = true, []byte(u.msg.Login.BaseName())
		return u.msg.Login, nil
	}
	id, _, err := auth.ParseBaseName(first.BaseName)
	if err != nil {
		return "", recordRefusal(0, "bn", "base-name", err.Error())
	}
	return id, nil
}

// claimant is whose uplink a refused one seemed to be, for the rejects stream:
// also of a pack that could not be read to its end.
func (u *uplink) claimant() auth.DeviceID {
	switch {
	case u.id != "":
		return u.id
	case u.msg.Login != "":
		return u.msg.Login
	case len(u.pack.Records) == 0:
		return ""
	}
	id, _, err := auth.ParseBaseName(u.pack.Records[0].BaseName)
	if err != nil {
		return ""
	}
	return id
}

// fits holds the claimed device against what the edge knows of the peer.
func (u *uplink) fits() error {
	if u.msg.Login != "" && u.id != u.msg.Login {
		return recordRefusal(0, "bn", "foreign-device", "names another device than the one that is logged in")
	}
	if u.msg.PathType != "" && u.id.Type() != u.msg.PathType {
		return recordRefusal(0, "bn", "wrong-path", "a device of type "+u.id.Type()+" does not belong on this path: "+PathHint)
	}
	return nil
}

// PathHint says which path is for which type of device id.
const PathHint = "IMEI devices post to /ingestion/m2m/senml/v1, DVNUUID devices to /ingestion/ip/senml/v1"

// canonical is the device's base name as we always emit it, followed by rest.
// The bytes are kept where they are canonical already.
func canonical(bn []byte, id auth.DeviceID, rest []byte) []byte {
	own := id.BaseName()
	if len(bn) >= len(own) && string(bn[:len(own)]) == own {
		return bn
	}
	return append([]byte(own), rest...)
}

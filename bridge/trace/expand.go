package trace

import (
	"encoding/binary"
	"time"

	"m2mbridge/auth"
)

// expand makes steps of the records that are kept of a device, oldest first. A
// delivery belongs to the message whose stream id it has.
func expand(node string, id auth.DeviceID, records []byte) []Step {
	var steps []Step
	messages := map[string]uint64{} // by stream id
	for len(records) >= recordHead && int(records[0]) >= recordHead {
		rec := records[:min(int(records[0]), len(records))]
		records = records[len(rec):]
		first := Step{
			Node: node, Device: id, N: binary.LittleEndian.Uint64(rec[4:]),
			At: time.UnixMicro(int64(binary.LittleEndian.Uint64(rec[12:]))).UTC(),
		}
		body := reader{rec[recordHead:]}
		switch rec[1] {
		case recordMessage:
			first.Message = first.N
			steps = expandMessage(steps, first, rec[3], &body)
			if last := &steps[len(steps)-1]; last.Kind == Stored {
				messages[last.ID] = last.Message
			}
		case recordDelivered:
			first.Kind, first.ID, first.Subscribers = Delivered, body.text(), body.number()
			if first.Topic = body.text(); first.Topic == "" {
				first.Topic = uplinksTopic(id)
			}
			first.Message = messages[first.ID]
			steps = append(steps, first)
		case recordNote:
			first.Kind, first.Text = notes[int(rec[3])%len(notes)], body.text()
			steps = append(steps, first)
		}
	}
	return steps
}

// expandMessage gives the steps of one message, numbered from the first on.
func expandMessage(steps []Step, base Step, flags byte, body *reader) []Step {
	took := time.Duration(body.number()) * time.Microsecond
	add := func(kind Kind, fill func(*Step)) {
		s := base
		s.Kind = kind
		fill(&s)
		steps = append(steps, s)
		base.N++
	}
	add(Received, func(s *Step) {
		s.Via, s.Token = pick(flags&flagMQTT != 0, "mqtt", "http"), flags&flagToken != 0
		s.Bytes, s.Remote = body.number(), body.remote()
	})
	base.At = base.At.Add(took)
	outcome, secret, records, measurements, id := body.text(), int(body.byte()), body.number(), body.number(), body.text()
	add(Verdict, func(s *Step) {
		s.Outcome, s.Secret, s.Unsigned, s.Took = outcome, secret, flags&flagUnsigned != 0, took.String()
		if flags&flagRefused != 0 {
			s.Reason, s.Detail = body.text(), body.text()
		}
	})
	if records > 0 {
		add(Pack, func(s *Step) { s.Records, s.Measurements = records, measurements })
	}
	if id != "" {
		add(Stored, func(s *Step) { s.ID = id })
	}
	return steps
}

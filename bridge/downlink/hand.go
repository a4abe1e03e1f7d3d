package downlink

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"m2mbridge/auth"
	"m2mbridge/senml"
)

// Handed is a downlink on its way, in one attempt.
type Handed struct {
	ID      string
	Device  auth.DeviceID
	Attempt int             // 0: it went out before, and its outcome is settled
	Pack    json.RawMessage // see Spell
	Unsent  bool            // of the outcome: not a byte of it left, so it is none of the attempts that a downlink gets
}

// Hand gives the device's downlink to a contact that can take it now; ok is false if there is none for it. Its outcome is to
// be told with Done within the lease, else the attempt counts as one of which nothing is known.
func (s *Service) Hand(ctx context.Context, id auth.DeviceID, via Channel) (h Handed, ok bool, err error) {
	reply, err := s.do(ctx, s.cfg.Keys.Partition(id), "hand", string(id), string(via), "", s.cfg.Lease.Milliseconds())
	if err != nil {
		return Handed{}, false, err
	}
	words, err := reply.StringSlice()
	if err != nil {
		return Handed{}, false, fmt.Errorf("%w: hand: %w", ErrUnavailable, err)
	}
	h, ok, err = HandedOf(id, words)
	if ok {
		s.Handing(h, via)
	}
	return h, ok, err
}

// Handing notes that a downlink goes to its device.
func (s *Service) Handing(h Handed, via Channel) {
	if h.Attempt == 0 {
		s.cfg.Note(h.Device, h.ID+" goes once more over "+string(via)+", as an answer that was lost")
		return
	}
	s.cfg.Note(h.Device, h.ID+" is handed over "+string(via)+", attempt "+strconv.Itoa(h.Attempt))
}

// HandedOf reads what the rules hand and again return of a device.
func HandedOf(device auth.DeviceID, words []string) (h Handed, ok bool, err error) {
	if len(words) == 0 {
		return Handed{}, false, nil
	}
	if len(words) != 3 {
		return Handed{}, false, fmt.Errorf("%w: hand: %d words", ErrUnavailable, len(words))
	}
	h.ID, h.Device, h.Pack = words[0], device, []byte(words[2])
	if h.Attempt, err = strconv.Atoi(words[1]); err != nil {
		return Handed{}, false, fmt.Errorf("%w: hand: %w", ErrUnavailable, err)
	}
	return h, true, nil
}

// Spell is the pack with the device's base name in the device's own spelling, which its parser compares byte for byte.
func (h *Handed) Spell(baseName string) ([]byte, error) {
	var pack senml.Pack
	if err := pack.Decode(h.Pack, senml.Options{}); err != nil {
		return nil, fmt.Errorf("spell downlink %s: %w", h.ID, err)
	}
	return pack.AppendDownlink(nil, baseName), nil
}

// Done tells what became of an attempt: delivered, or not, and by what one knows. It is false if that means nothing any more:
// the downlink has ended, or the attempt failed and was not the last, or its lease is over. It may be told again.
func (s *Service) Done(ctx context.Context, h Handed, delivered bool, cause string) (bool, error) {
	p, ok := s.partitionOf(h.ID)
	if !ok || h.Attempt == 0 {
		return false, nil
	}
	flag := "0"
	if delivered {
		flag = "1"
	} else if h.Unsent {
		flag = "-"
	}
	reply, err := s.do(ctx, p, "done", h.ID, h.Attempt, flag, cause, s.cfg.AckWait.Milliseconds())
	if err != nil {
		return false, err
	}
	n, err := reply.Int()
	if n == 1 {
		s.cfg.Note(h.Device, h.ID+": "+cause)
	}
	return n == 1, err
}

// Acknowledge is the device's own word that it has a downlink. It is false if that was not under way to it.
func (s *Service) Acknowledge(ctx context.Context, device auth.DeviceID, id string) (bool, error) {
	p, ok := s.partitionOf(id)
	if !ok || p != s.cfg.Keys.Partition(device) {
		return false, nil
	}
	reply, err := s.do(ctx, p, "acknowledge", id, string(device))
	if err != nil {
		return false, err
	}
	n, err := reply.Int()
	return n == 1, err
}

// Drop cancels the downlinks of a device that was removed.
func (s *Service) Drop(ctx context.Context, device auth.DeviceID) (int, error) {
	reply, err := s.do(ctx, s.cfg.Keys.Partition(device), "drop", string(device))
	if err != nil {
		return 0, err
	}
	return reply.Int()
}

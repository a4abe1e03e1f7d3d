package broker

import "github.com/mochi-mqtt/server/v2/packets"

const (
	version311 = 4
	version5   = 5
)

// MQTT 5 reason codes (§2.4) that the edge gives.
const (
	codeSuccess         = 0x00
	codeNoSubscription  = 0x11
	codeUnspecified     = 0x80
	codeMalformed       = 0x81
	codeProtocolError   = 0x82
	codeImplementation  = 0x83
	codeVersion         = 0x84
	codeClientID        = 0x85
	codeBadLogin        = 0x86
	codeNotAuthorized   = 0x87
	codeUnavailable     = 0x88
	codeBusy            = 0x89
	codeShuttingDown    = 0x8b
	codeAuthMethod      = 0x8c
	codeKeepAlive       = 0x8d
	codeTakenOver       = 0x8e
	codeFilterInvalid   = 0x8f
	codeTopicInvalid    = 0x90
	codeReceiveMaximum  = 0x93
	codeAliasInvalid    = 0x94
	codeQuota           = 0x97
	codeAdministrative  = 0x98
	codePayload         = 0x99
	codeNoShared        = 0x9e
	codePacketIDUnknown = 0x92
)

// connack311 is the 3.1.1 return code for a refused login; 0: the connection is closed without one.
func connack311(code byte) byte {
	switch code {
	case codeVersion:
		return 0x01
	case codeClientID:
		return 0x02
	case codeUnavailable, codeBusy, codeQuota:
		return 0x03
	case codeBadLogin:
		return 0x04
	case codeNotAuthorized, codeTopicInvalid:
		return 0x05
	}
	return 0
}

// publishCode is a code that PUBACK and PUBREC may carry (MQTT 5 §3.4.2.1).
func publishCode(code byte) byte {
	switch code {
	case codeSuccess, codeUnspecified, codeImplementation, codeNotAuthorized, codeTopicInvalid, 0x91, codeQuota, codePayload:
		return code
	}
	return codeUnspecified
}

// code makes one of Mochi's reason codes.
func code(c byte, reason string) packets.Code { return packets.Code{Code: c, Reason: reason} }

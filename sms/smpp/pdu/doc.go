// Package pdu reads and writes the protocol data units of SMPP 3.4 that an ESME meets. It knows nothing of sessions: what
// an answer belongs to, and what is allowed when, is its caller's affair.
//
// Read gives a Frame, of which only the header has been looked at; Frame.Decode gives the PDU. They are apart because a
// body that makes no sense is to be answered by its sequence number, while a header that makes none ends the connection.
//
// What is written keeps the limits of the specification. What is read may be longer, or lack what other SMSCs leave out,
// as far as its meaning is plain.
package pdu

#!/usr/bin/perl
# Checks with Mail::DKIM what tests/examples/sign_corpus.rs wrote: verify.pl DIR.
#
# The two signatures on top of every good message must be valid, and those of every bad one must not be. Some versions
# do not know Ed25519: its signatures are then counted as not checked.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::DNS;

my $root = shift;
my %keys;
open(my $list, '<', "$root/keys") or die;
while (<$list>) { chomp; my ($name, $text) = split / /, $_, 2; $keys{$name} = $text; }

# A resolver that knows these records and no other.
package Known;
sub new { bless {}, shift }
sub AUTOLOAD { 1 }
sub send {
    my ($self, $name, $type) = @_;
    my $packet = Net::DNS::Packet->new($name, $type);
    my @strings = unpack('(a200)*', $keys{$name} // '');
    $packet->push(answer => Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => \@strings)) if @strings;
    $packet->header->rcode(@strings ? 'NOERROR' : 'NXDOMAIN');
    return $packet;
}
package main;
use Net::DNS;
Mail::DKIM::DNS::resolver(Known->new);

my $unknown = 0;
my ($wrong, %checked) = (0, good => 0, bad => 0);
my @told;
for my $kind (qw(good bad)) {
    for my $path (sort glob "$root/$kind/*.eml") {
        open(my $in, '<:raw', $path) or die;
        my $verifier = Mail::DKIM::Verifier->new;
        while (<$in>) { $verifier->PRINT($_); }
        $verifier->CLOSE;
        my @signatures = $verifier->signatures;
        for my $index (0, 1) {
            my $result = $signatures[$index] ? $signatures[$index]->result : 'none';
            if ($signatures[$index] && $signatures[$index]->result_detail =~ /unsupported algorithm ed25519/) {
                $unknown++;
                next;
            }
            $checked{$kind}++;
            next if ($result eq 'pass') == ($kind eq 'good');
            $wrong++;
            push @told, "$path signature $index: " . ($signatures[$index] ? $signatures[$index]->result_detail : $result);
        }
    }
}
print "Mail::DKIM: $checked{good} good and $checked{bad} bad signatures checked, $wrong judged otherwise, $unknown of Ed25519 not checked\n";
print map { "$_\n" } @told;
exit($wrong ? 1 : 0);

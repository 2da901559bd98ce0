/** The mark: an organ's outline, open where its vessels enter and branch. */
export function Mark({ size = 22 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" fill="none" strokeLinecap="round" strokeLinejoin="round" aria-hidden>
      <path d="M16.6 6.2A7.9 7.9 0 1 0 16.6 17.8" stroke="currentColor" strokeWidth="2.3" />
      <path d="M22.2 12h-8.4M13.8 12 9.6 8.8M13.8 12l-4.2 3.2" stroke="var(--hilum-accent)" strokeWidth="2" />
    </svg>
  )
}

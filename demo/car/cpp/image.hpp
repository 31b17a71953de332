// Image files without a library: PPM, PGM and raw BGR are read, PGM and PFM written.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Image {
  int height = 0, width = 0, channels = 0;
  std::vector<uint8_t> data;  // row by row, channels together, no padding between rows

  Image() = default;
  Image(int h, int w, int c, uint8_t value = 0)
      : height(h), width(w), channels(c), data(size_t(h) * size_t(w) * size_t(c), value) {}

  uint8_t* row(int y) { return data.data() + size_t(y) * size_t(width) * size_t(channels); }
  const uint8_t* row(int y) const { return const_cast<Image*>(this)->row(y); }
};

constexpr int max_side = 16384;
constexpr long max_pixels = 8192L * 8192L;

inline Image make_frame(long height, long width, int channels) {
  if (height < 1 || width < 1 || height > max_side || width > max_side ||
      height * width > max_pixels)
    throw std::runtime_error("a frame's sides must be 1 to 16384, its area at most 8192 x 8192");
  return Image(int(height), int(width), channels);
}

inline void read_exactly(std::istream& file, Image& image, const std::string& path) {
  file.read(reinterpret_cast<char*>(image.data.data()), std::streamsize(image.data.size()));
  if (size_t(file.gcount()) != image.data.size())
    throw std::runtime_error(path + ": ends before the frame does");
}

// A number of a PPM header; comments between the numbers are skipped.
inline long header_number(std::istream& file, const std::string& path) {
  while ((file >> std::ws) && file.peek() == '#') file.ignore(1 << 16, '\n');
  long number = 0;
  if (!(file >> number)) throw std::runtime_error(path + ": not a PPM or PGM header");
  return number;
}

// A frame as cameras give it: height x width x 3, blue first. PPM (P6) or PGM (P5), 8 bits.
inline Image read_pnm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": no such file");
  char magic[2] = {};
  file.read(magic, 2);
  const bool colour = std::memcmp(magic, "P6", 2) == 0;
  if (!colour && std::memcmp(magic, "P5", 2) != 0)
    throw std::runtime_error(path + ": not a binary PPM (P6) or PGM (P5); give --bgr WxH for raw");
  const long width = header_number(file, path), height = header_number(file, path);
  if (header_number(file, path) != 255) throw std::runtime_error(path + ": not 8 bits per channel");
  file.get();
  Image read = make_frame(height, width, colour ? 3 : 1);
  read_exactly(file, read, path);
  Image frame(read.height, read.width, 3);
  for (size_t i = 0; i < frame.data.size(); ++i)
    frame.data[i] = colour ? read.data[i - i % 3 + 2 - i % 3] : read.data[i / 3];
  return frame;
}

inline Image read_raw_bgr(const std::string& path, long height, long width) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": no such file");
  Image frame = make_frame(height, width, 3);
  read_exactly(file, frame, path);
  return frame;
}

inline void finish(std::ofstream& file, const std::string& path) {
  file.close();
  if (!file) throw std::runtime_error(path + ": cannot be written");
}

// One byte per pixel: class indices or lane bytes, so the picture looks dark.
inline void write_pgm(const std::string& path, const Image& mask) {
  std::ofstream file(path, std::ios::binary);
  file << "P5\n" << mask.width << ' ' << mask.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(mask.data.data()), std::streamsize(mask.data.size()));
  finish(file, path);
}

// 1 or 3 planes of float32 as a little-endian PFM, whose rows go from the lowest up.
inline void write_pfm(const std::string& path, const std::vector<float>& planes, int channels,
                      int height, int width) {
  std::ofstream file(path, std::ios::binary);
  file << (channels == 3 ? "PF\n" : "Pf\n") << width << ' ' << height << "\n-1.0\n";
  std::vector<float> row(size_t(width) * size_t(channels));
  for (int y = height - 1; y >= 0; --y) {
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c)
        row[size_t(x * channels + c)] =
            planes[(size_t(c) * size_t(height) + size_t(y)) * size_t(width) + size_t(x)];
    file.write(reinterpret_cast<const char*>(row.data()), std::streamsize(4 * row.size()));
  }
  finish(file, path);
}
